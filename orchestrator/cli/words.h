/* words: what documents of the API say, in words for people. Pure. */
#pragma once

#include "common/base/buf.h"
#include "orchestrator/api/api_doc.h"
#include "orchestrator/engine/event.h"

/* "40 servers", "1 server". */
void words_servers(struct buf *b, int64_t count);
/* "13 succeeded, 1 failed, 5 in flight, 21 pending": what is not zero. */
void words_counts(struct buf *b, const struct api_counts *counts);
/* "web-*, db-1" of texts (char *). */
void words_list(struct buf *b, const struct array *texts);
/* The type of an event; -1 when this program does not know it. */
int words_event_type(const struct api_event *event);
/* What an event tells beyond its type, server and step; nothing for some. */
void words_event(struct buf *b, const struct api_event *event);

/* facts: what a host says of itself, before anything is done there. Pure. */
#pragma once

#include "common/base/buf.h"
#include "common/base/error.h"
#include "common/base/id.h"

#include <stdbool.h>
#include <stddef.h>

enum { FACTS_TEXT_MAX = 128, FACTS_SUM_MAX = 65 };

struct facts {
    char kernel[FACTS_TEXT_MAX];  /* "Linux" */
    char machine[FACTS_TEXT_MAX]; /* "x86_64" */
    char os[FACTS_TEXT_MAX];      /* "Debian GNU/Linux 12 (bookworm)"; may be "" */
    bool systemd;                 /* it runs there */
    bool deb, rpm;                /* such packages can be installed there */
    char package[FACTS_TEXT_MAX]; /* "deb 0.1.0": what is installed; "": none */
    char own_binary[FACTS_SUM_MAX], packaged_binary[FACTS_SUM_MAX], own_unit[FACTS_SUM_MAX];
    /* What was uploaded last, and the program that came of it; "": nothing. */
    char installed_payload[FACTS_SUM_MAX], installed_binary[FACTS_SUM_MAX];
    char identity[ID_BUFFER]; /* the server that it has a certificate for; "": none */
    bool unfinished;          /* an earlier run was cut off */
    bool active, enabled;
    bool has_conf;
    struct buf conf; /* agent.conf's text */
};

void facts_done(struct facts *facts);
#define AUTO_FACTS __attribute__((cleanup(facts_done)))
/* Reads what `probe` of remote.sh prints: "key=value" lines. Keys that are not known are passed
 * over. ERR_PROTOCOL: it names no kernel or machine; ERR_NO_MEMORY. */
enum error_code facts_parse(const char *text, struct facts *ret_facts,
                            struct error *err) MUST_CHECK;

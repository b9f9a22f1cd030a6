/* support_scope: some values for tests. */
#pragma once

#include "common/values/value.h"

/* server.id "web-1", server.labels.tier "front", facts.os.id "debian", facts.os.version "12.5",
 * facts.cpus 4, facts.virtual true, facts.disks ["sda", "sdb"], vars.port 8080,
 * steps.get.outputs.sum "abc". */
extern const struct value_scope test_scope;

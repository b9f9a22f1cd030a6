/*
 * facts: what an agent finds out about its server, for people who look at it and for plans that ask
 * (facts.NAME, see common/values/value.h).
 *
 *   os.id os.version os.name    of os-release(5): "debian", "12", "Debian GNU/Linux 12 (bookworm)"
 *   os.like                     list: ID_LIKE, ["rhel", "fedora"]
 *   kernel arch hostname        of uname(2)
 *   cpus                        that are online
 *   memory.mb swap.mb           of /proc/meminfo, MiB
 *   disk.root.mb disk.root.free_mb  the file system of /, MiB
 *   packages.dpkg               how many are installed, where there is dpkg's database
 *   boot.id                     another one after each start of the machine
 *
 *   rebootRequired rebootReasons  whether it is to be rebooted, and the list of why
 * (reboot_marks.h)
 *
 * What cannot be found out is left out.
 *
 * Threading: no shared state. I/O: the files named; it takes a few milliseconds.
 */
#pragma once

#include "agent/reboot_marks.h"
#include "common/values/value_set.h"

/* `root` goes before each path: "" for this machine; a test has a folder of its own. Adds to the
 * set. ERR_NO_MEMORY. */
enum error_code facts_collect(const char *root, struct value_set *set,
                              struct error *err) MUST_CHECK;
enum error_code facts_collect_reboot(const struct reboot_marks *marks, struct value_set *set,
                                     struct error *err) MUST_CHECK;
/* Adds a label from "NAME=VALUE". ERR_INVALID says what is wrong; ERR_EXISTS: that label is there
 * already. */
enum error_code facts_label(const char *text, struct value_set *labels,
                            struct error *err) MUST_CHECK;

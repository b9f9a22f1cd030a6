/*
 * artifact: how a plan names content that the orchestrator stores: "sha256:" and the 64 lower-case
 * hexadecimal digits of its SHA-256 (FIPS 180-4). There is one such name for each content, so that
 * a plan that was checked, or signed, says which bytes will be there.
 *
 * Pure.
 */
#pragma once

#define ARTIFACT_PREFIX "sha256:"

enum {
    ARTIFACT_DIGEST_DIGITS = 64,
    ARTIFACT_DIGEST_BUFFER = ARTIFACT_DIGEST_DIGITS + 1,
    ARTIFACT_NAME_BUFFER = sizeof(ARTIFACT_PREFIX) + ARTIFACT_DIGEST_DIGITS
};

/* The digits of a name; NULL: it is none. Borrowed from `name`. */
const char *artifact_digest(const char *name);
/* The digits of the first name in a text, which goes on behind them; NULL: there is none. */
const char *artifact_find(const char *text);
/* A rule for a string in a table, see json_field.check. */
const char *artifact_check_name(const char *name);

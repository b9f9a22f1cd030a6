#include "alloc/plans.h"

#define ZEROES_16 "0000000000000000"
#define ZEROES_64 ZEROES_16 ZEROES_16 ZEROES_16 ZEROES_16
#define SIGNING                                                                                    \
    "\"signing\":{\"version\":1,\"nonce\":\"" ZEROES_16 ZEROES_16 "\",\"notBefore\":"              \
    "\"2026-11-26T06:00:00.000Z\",\"expires\":\"2026-11-26T14:00:00.000Z\",\"digest\":"            \
    "\"" ZEROES_64 "\",\"signatures\":[{\"key\":\"" ZEROES_16                                      \
    "\",\"signature\":\"" ZEROES_64 ZEROES_64 "\"}]}"

const char plan_of_all_fields[] =
    "{\"name\":\"all\",\"servers\":[\"a\",\"b\",\"c\"],\"steps\":[{\"name\":\"s\",\"type\":"
    "\"script\",\"params\":{\"script\":\"sh\",\"args\":[\"-c\",\"true\"],\"rollback_script\":\"x\"}"
    ",\"required\":false,\"continueOnFailure\":true,\"timeoutSeconds\":2.5,\"retry\":{"
    "\"maximumAttempts\":3,\"initialIntervalSeconds\":1,\"backoffCoefficient\":1.5,"
    "\"maximumIntervalSeconds\":9,\"nonRetryableExitCodes\":[64,3,64]},\"onInterrupt\":\"retry\"}],"
    "\"rolloutStrategy\":{\"type\":\"Rolling\",\"batchSize\":[1,\"50%\",\"100%\"],"
    "\"batchDelaySeconds\":1,\"maxFailures\":\"10%\",\"maxUnreachable\":1,\"maxParallel\":2,"
    "\"maxTouched\":9,\"startTimeoutSeconds\":5,\"reconnectTimeoutSeconds\":6},\"rollback\":{"
    "\"scope\":\"failed\",\"confirmTimeoutSeconds\":7}," SIGNING "}";

const char plan_of_all_types[] =
    "{\"servers\":[\"a\"],\"steps\":["
    "{\"name\":\"1\",\"type\":\"echo\",\"params\":{\"message\":\"m\"}},"
    "{\"name\":\"2\",\"type\":\"sleep\",\"params\":{\"duration\":0.5}},"
    "{\"name\":\"3\",\"type\":\"script\",\"params\":{\"script\":\"sh\",\"args\":[\"x\"]}},"
    "{\"name\":\"4\",\"type\":\"file_write\",\"params\":{\"path\":\"/x\",\"content\":\"y\"}},"
    "{\"name\":\"5\",\"type\":\"yum_upgrade\",\"params\":{\"package\":\"nginx\","
    "\"version\":\"1.20.1-14\"}},"
    "{\"name\":\"6\",\"type\":\"script\",\"params\":{\"inline\":\"true\",\"env\":{\"A\":\"b\","
    "\"C\":"
    "\"\"},\"successExitCodes\":[0,3],\"limits\":{\"memory\":\"64M\",\"pids\":3}}},"
    "{\"name\":\"7\",\"type\":\"file_write\",\"params\":{\"path\":\"/"
    "x\",\"contentBase64\":\"AAE=\","
    "\"validate\":[\"true\",\"%s\"],\"backup\":\"y\"}},"
    "{\"name\":\"8\",\"type\":\"directory\",\"params\":{\"path\":\"/d\",\"state\":\"absent\"}},"
    "{\"name\":\"9\",\"type\":\"symlink\",\"params\":{\"path\":\"/l\",\"target\":\"t\"}}]}";

#define VALUES_STEP                                                                                \
    "{\"name\":\"s\",\"type\":\"script\",\"params\":{\"script\":\"${vars.a.b}\",\"args\":["        \
    "\"${facts.cpus}\",\"x ${vars.n}\"],\"rollback_script\":\"x\"},\"when\":\"vars.n in [1, 2] "   \
    "and not "                                                                                     \
    "(server.id == 'a')\"}"
const char plan_of_values[] =
    "{\"servers\":[\"a\"],\"vars\":{\"a\":{\"b\":\"true\"},\"n\":2,\"l\":[1,\"x\"]},"
    "\"secrets\":{\"p.w\":{\"env\":\"PW\"},\"f\":{\"file\":\"/f\"}},\"steps\":[" VALUES_STEP
    ",{\"name\":\"u\",\"type\":\"script\",\"params\":{\"inline\":\"${secrets.p.w} ${vars.n}\"}}"
    ",{\"name\":\"t\",\"type\":\"echo\",\"params\":{\"message\":\"${steps.s.outputs.x}\"}}]}";
const char plan_of_value_faults[] =
    "{\"servers\":[\"a\"],\"vars\":{\"m\":[1],\"s\":\"${secrets.f}\"},"
    "\"secrets\":{\"f\":{},\"g g\":{}},\"steps\":[" VALUES_STEP
    ",{\"name\":\"u\",\"type\":\"script\",\"params\":{\"script\":\"${secrets.p}\"}}"
    ",{\"name\":\"t\",\"type\":\"sleep\",\"params\":{\"duration\":\"${vars.m}\",\"x\":\"${facts.a}"
    "\"},"
    "\"when\":\"vars.n =\"}]}";

const char plan_of_one_server[] =
    "{\"serverID\":\"a\",\"steps\":[{\"name\":\"s\",\"type\":\"echo\",\"params\":{\"message\":"
    "\"m\"}}]}";

#define FAULT "{\"name\":\"s\",\"type\":\"ecko\",\"timeoutSeconds\":-1,\"x\":1},"
#define FAULTS FAULT FAULT FAULT FAULT FAULT FAULT FAULT FAULT FAULT FAULT
const char plan_of_faults[] =
    "{\"servers\":[\"a\",\"a\",\"-\",7],\"serverID\":\"b\",\"nme\":\"x\",\"steps\":["
    "{\"name\":\"u\",\"type\":\"nothing like it\",\"params\":{}},"
    "{\"name\":\"t\",\"type\":\"file_write\",\"params\":{\"pat\":\"/x\"}}," FAULTS FAULTS FAULTS
    "{\"name\":\"v\",\"type\":\"echo\",\"params\":[]}],"
    "\"rolloutStrategy\":{\"type\":\"Sequential\",\"batchSize\":[2,1,\"x\"],\"maxFailures\":-2,"
    "\"canaryPercentage\":0,\"maxTouched\":1}}";

const char plan_of_two_servers[] =
    "{\"name\":\"two\",\"servers\":[\"a\",\"b\"],\"steps\":[{\"name\":\"write\",\"type\":"
    "\"file_write\",\"params\":{\"path\":\"/x\",\"content\":\"y\"}},{\"name\":\"say\",\"type\":"
    "\"echo\",\"params\":{\"message\":\"m\"}}],\"rolloutStrategy\":{\"type\":\"Rolling\","
    "\"batchSize\":2}}";

/* What a simulated fleet must meet in some world of a run that is long enough: see sim_hit. */
#pragma once

#define SIM_PATHS(X)                                                                               \
    X(PATH_SUCCEEDED, "rollout succeeded")                                                         \
    X(PATH_FAILED, "rollout failed")                                                               \
    X(PATH_CANCELLED, "rollout cancelled")                                                         \
    X(PATH_ROLLED_BACK, "rollout rolled back")                                                     \
    X(PATH_ROLLBACK_FAILED, "rollout rollback failed")                                             \
    X(PATH_CALM, "world without faults")                                                           \
    X(PATH_ORCHESTRATOR_KILLED, "orchestrator killed")                                             \
    X(PATH_ORCHESTRATOR_STOPPED, "orchestrator stopped in good order")                             \
    X(PATH_ORCHESTRATOR_MID_COMMIT, "orchestrator killed in mid-commit, lost")                     \
    X(PATH_ORCHESTRATOR_MID_COMMIT_KEPT, "orchestrator killed in mid-commit, durable")             \
    X(PATH_ORCHESTRATOR_UNTOLD, "orchestrator killed between commit and acting on it")             \
    X(PATH_ORCHESTRATOR_MID_SEND, "orchestrator killed while sending")                             \
    X(PATH_ORCHESTRATOR_FSYNC, "the journal failed for good")                                      \
    X(PATH_ORCHESTRATOR_STALL, "the journal stalled and went on")                                  \
    X(PATH_ORCHESTRATOR_POWER, "orchestrator's machine gone without a word")                       \
    X(PATH_AGENT_KILLED, "agent killed")                                                           \
    X(PATH_AGENT_STOPPED, "agent stopped in good order")                                           \
    X(PATH_AGENT_MID_COMMIT, "agent killed in mid-commit, lost")                                   \
    X(PATH_AGENT_MID_COMMIT_KEPT, "agent killed in mid-commit, durable")                           \
    X(PATH_AGENT_UNTOLD, "agent killed between commit and acting on it")                           \
    X(PATH_AGENT_MID_PREPARE, "agent killed in prepare")                                           \
    X(PATH_AGENT_MID_EXECUTE, "agent killed in execute")                                           \
    X(PATH_AGENT_MID_UNDO, "agent killed in undo")                                                 \
    X(PATH_AGENT_BEFORE_OPERATION, "agent killed as an operation was to begin")                    \
    X(PATH_AGENT_FSYNC, "an agent's journal failed for good")                                      \
    X(PATH_AGENT_STALL, "an agent's journal stalled and went on")                                  \
    X(PATH_AGENT_GONE, "agent gone for ever")                                                      \
    X(PATH_AGENT_LOST_DATA, "agent lost its data")                                                 \
    X(PATH_ORPHAN, "a step went on without its agent")                                             \
    X(PATH_ORPHAN_ENDED, "a step went on without its agent and was ended")                         \
    X(PATH_BROKEN, "connection broken, frames lost")                                               \
    X(PATH_HALF_OPEN, "connection half open")                                                      \
    X(PATH_PARTITION, "partition")                                                                 \
    X(PATH_ONE_WAY, "one-way partition")                                                           \
    X(PATH_CLOCK, "wall clock set")                                                                \
    X(PATH_RESENT, "entry reported again that is durable")                                         \
    X(PATH_DUPLICATE, "report entry known already")                                                \
    X(PATH_EVICTED, "ended rollout loaded again")                                                  \
    X(PATH_EXECUTE_AGAIN, "execute sent again")                                                    \
    X(PATH_IN_DOUBT_RETRIED, "step in doubt tried again")                                          \
    X(PATH_IN_DOUBT_FAILED, "step in doubt failed")                                                \
    X(PATH_KILLED_BY_STEP, "step that kills its agent given up")                                   \
    X(PATH_RETRIED, "step tried again")                                                            \
    X(PATH_TIMED_OUT, "step timed out")                                                            \
    X(PATH_UNDO_RETRIED, "undo tried again")                                                       \
    X(PATH_UNDO_FAILED, "undo failed")                                                             \
    X(PATH_UNDO_CONFLICT, "undo found a change by another")                                        \
    X(PATH_OWN_UNDO, "server undid itself")                                                        \
    X(PATH_TOLD_UNDO, "server undid as told")                                                      \
    X(PATH_UNREACHABLE, "unreachable")                                                             \
    X(PATH_UNKNOWN, "unknown")                                                                     \
    X(PATH_WITHDRAWN, "withdrawn")                                                                 \
    X(PATH_STRAY, "began after it was given up")                                                   \
    X(PATH_LATE_RETURN, "came back after unknown")                                                 \
    X(PATH_LATE_RETURN_OVER, "came back after the rollout's end")                                  \
    X(PATH_LATE_ROLLED_BACK, "came back after the rollout's end and was undone")                   \
    X(PATH_TOMBSTONE, "cancelled before it began")                                                 \
    X(PATH_LOST_RECORD, "agent came back without any record")                                      \
    X(PATH_QUEUE_WAIT, "rollout waited for another")                                               \
    X(PATH_NO_WAIT_REFUSED, "rollout refused for another")                                         \
    X(PATH_SUBMIT_REPEATED, "submitted again")                                                     \
    X(PATH_SUBMIT_OTHER, "id used for another plan")                                               \
    X(PATH_ANSWER_LOST, "answer lost with the orchestrator")                                       \
    X(PATH_PAUSED, "paused")                                                                       \
    X(PATH_RESUMED, "resumed")                                                                     \
    X(PATH_CANCEL_NOW, "cancelled at once")                                                        \
    X(PATH_CANCEL_UNDOING, "cancelled with undo")                                                  \
    X(PATH_THRESHOLD, "threshold exceeded")                                                        \
    X(PATH_CANARY_PASSED, "canary passed")                                                         \
    X(PATH_RESUMED_ROLLOUT, "rollout resumed from the journal")                                    \
    X(PATH_ROLLBACK_UNDER_WAY, "rollback ordered of a rollout under way")                          \
    X(PATH_ROLLBACK_ENDED, "rollback ordered of an ended rollout")                                 \
    X(PATH_ROLLBACK_SERVERS, "rollback ordered of some servers")                                   \
    X(PATH_ROLLBACK_SILENT, "rollback ordered of a silent server")                                 \
    X(PATH_ROLLBACK_SILENT_DONE, "silent server undone when it came back, as ordered")             \
    X(PATH_ROLLBACK_LATER, "rollback refused for a later rollout's touch")                         \
    X(PATH_ROLLBACK_HELD, "rollback refused for another rollout that holds the server")            \
    X(PATH_ROLLBACK_LOCKED, "rollback refused for a lock")                                         \
    X(PATH_ROLLBACK_REFUSED, "rollback refused for other reasons")                                 \
    X(PATH_ROLLBACK_FORCED, "rollback forced")                                                     \
    X(PATH_FORCED_LATER, "rollback forced over a later rollout's touch")                           \
    X(PATH_FORCED_OVER, "undone over a change by another")                                         \
    X(PATH_ENDED_AGAIN, "opened again and ended again")                                            \
    X(PATH_ROUND_AGAIN, "undone in a further round")                                               \
    X(PATH_ROUND_BETTER, "undo failed, and worked in a further round")                             \
    X(PATH_RESOLVED_SUCCEEDED, "settled by hand as succeeded")                                     \
    X(PATH_RESOLVED_FAILED, "settled by hand as failed")                                           \
    X(PATH_RESOLVED_ROLLED_BACK, "settled by hand as rolled back")                                 \
    X(PATH_RESOLVED_HEARD, "heard of after it was settled by hand")                                \
    X(PATH_RESOLVED_ORDERED, "undone by order after it was settled by hand")                       \
    X(PATH_CONCLUDED_AGAIN, "ended otherwise after a server was settled by hand")                  \
    X(PATH_RETRY, "rollout retried")                                                               \
    X(PATH_RETRY_REPEATED, "retried again with the same id")                                       \
    X(PATH_RETRY_NOTHING, "nothing left to retry")                                                 \
    X(PATH_RETRY_EARLY, "retry of a rollout that has not ended refused")                           \
    X(PATH_LOCKED, "server locked")                                                                \
    X(PATH_UNLOCKED, "server unlocked")                                                            \
    X(PATH_LOCK_REFUSED, "locked twice, or unlocked twice")                                        \
    X(PATH_LOCK_RESTORED, "lock taken from the journal")                                           \
    X(PATH_LOCK_NO_WAIT, "rollout refused for a lock")                                             \
    X(PATH_ORDER_REPEATED, "order given again after its answer was lost")                          \
    X(PATH_ORDER_REPEATED_KEPT, "order given again that had become durable")                       \
    X(PATH_CONFIRMED, "confirmed over a new connection")                                           \
    X(PATH_NOT_CONFIRMED, "not confirmed, and undone")                                             \
    X(PATH_CONFIRM_PARTITION, "partition in the wait to be confirmed")                             \
    X(PATH_CONFIRM_DEATH, "agent died in the wait to be confirmed")                                \
    X(PATH_CONFIRM_CANCELLED, "cancelled in the wait to be confirmed")                             \
    X(PATH_REBOOT, "server rebooted by a step")                                                    \
    X(PATH_REBOOT_RAN_ON, "step went on after its reboot")                                         \
    X(PATH_REBOOT_TWICE, "step went on after its second reboot")                                   \
    X(PATH_REBOOT_ENDLESS, "step that wants reboots without end given up")                         \
    X(PATH_REBOOT_REFUSED, "reboot refused")                                                       \
    X(PATH_REBOOT_VAIN, "reboot asked for in vain given up")                                       \
    X(PATH_REBOOT_SAME_BOOT, "agent died before its reboot")                                       \
    X(PATH_REBOOT_AGAIN, "reboot asked for again by the next agent")                               \
    X(PATH_REBOOT_NEVER, "server stayed away after its reboot")                                    \
    X(PATH_REBOOT_UNKNOWN, "server not back in time from its reboot")                              \
    X(PATH_REBOOT_WITHDRAWN, "reboot called off")                                                  \
    X(PATH_REBOOT_ENDED, "step ended while it waited for its reboot")                              \
    X(PATH_MEDDLED, "value changed by somebody else")                                              \
    X(PATH_PREPARE_DEADLY, "prepare that kills its agent given up")                                \
    X(PATH_UNDO_DEADLY, "undo that kills its agent given up")                                      \
    X(PATH_EXPIRED, "record past its retention removed")                                           \
    X(PATH_EXPIRED_UNDO, "undo ordered of what was past its retention")                            \
    X(PATH_NO_ROOM, "no room for what undo needs")                                                 \
    X(PATH_ROOM_MADE, "room made for what undo needs")                                             \
    X(PATH_UNCHANGED, "server succeeded unchanged")                                                \
    X(PATH_CHECK_SUCCEEDED, "check succeeded")                                                     \
    X(PATH_CHECK_FAILED, "check failed")                                                           \
    X(PATH_CHECK_DEPENDS, "check failed after a change that is only planned")                      \
    X(PATH_CHECK_RETRIED, "check tried again")                                                     \
    X(PATH_CHECK_DEADLY, "check that kills its agent given up")                                    \
    X(PATH_AGENT_MID_CHECK, "agent killed in a check")                                             \
    X(PATH_CHECK_UNDO_REFUSED, "undo of a check refused")
#define X(value, name) value,
enum sim_path { SIM_PATHS(X) SIM_PATH_COUNT };
#undef X

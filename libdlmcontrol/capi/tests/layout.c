/* Sizes and places of the public structures, as programs were compiled to them (x86_64, 4.1 and 4.2). */

#include <libdlmcontrol.h>
#include <stddef.h>

#define SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #type "." #field)

SIZE(dlmc_node, 40);
AT(dlmc_node, nodeid, 0);
AT(dlmc_node, flags, 4);
AT(dlmc_node, added_seq, 8);
AT(dlmc_node, removed_seq, 12);
AT(dlmc_node, fail_reason, 16);
AT(dlmc_node, fail_walltime, 24);
AT(dlmc_node, fail_monotime, 32);

SIZE(dlmc_change, 32);
AT(dlmc_change, member_count, 0);
AT(dlmc_change, joined_count, 4);
AT(dlmc_change, remove_count, 8);
AT(dlmc_change, failed_count, 12);
AT(dlmc_change, wait_condition, 16);
AT(dlmc_change, wait_messages, 20);
AT(dlmc_change, seq, 24);
AT(dlmc_change, combined_seq, 28);

SIZE(dlmc_lockspace, 140);
AT(dlmc_lockspace, cg_prev, 0);
AT(dlmc_lockspace, cg_next, 32);
AT(dlmc_lockspace, flags, 64);
AT(dlmc_lockspace, global_id, 68);
AT(dlmc_lockspace, name, 72);

_Static_assert(DLMC_DUMP_SIZE == 1048576, "dump");
_Static_assert(DLMC_RUN_UUID_LEN == 64 && DLMC_RUN_COMMAND_LEN == 1024, "run");
_Static_assert(DLMC_NODES_ALL == 1 && DLMC_NODES_MEMBERS == 2 && DLMC_NODES_NEXT == 3, "nodes");
_Static_assert(DLMC_RESULT_REGISTER == 1 && DLMC_RESULT_NOTIFIED == 2, "result");
_Static_assert(DLMC_STATUS_VERBOSE == 1, "status");

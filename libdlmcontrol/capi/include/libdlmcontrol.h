/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * libdlmcontrol: how programs talk to dlm_controld, over its two local sockets.
 *
 * Source and binary interface of libdlmcontrol.so.3 as of 4.2. Every call blocks until the daemon has answered; calls from
 * several threads do not disturb one another. Without a daemon calls return -1, errno ECONNREFUSED.
 */

#ifndef LIBDLMCONTROL_H
#define LIBDLMCONTROL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Longest name of a lockspace, without its NUL; linux/dlmconstants.h has the same. */
#ifndef DLM_LOCKSPACE_LEN
#define DLM_LOCKSPACE_LEN 64
#endif

/* Bytes that the buffer of a dlmc_dump_ function must have. */
#define DLMC_DUMP_SIZE (1024 * 1024)

/* A node of a lockspace: what holds for the list that was asked for. */
#define DLMC_NF_MEMBER 0x01U       /* member */
#define DLMC_NF_START 0x02U        /* its start message has come */
#define DLMC_NF_DISALLOWED 0x04U   /* merged with state of its own */
#define DLMC_NF_NEED_FENCING 0x08U /* to be fenced */
#define DLMC_NF_CHECK_FS 0x10U     /* a file system is to acknowledge its failure */

struct dlmc_node {
	int nodeid;
	uint32_t flags;         /* DLMC_NF_ */
	uint32_t added_seq;     /* the change that added it last */
	uint32_t removed_seq;   /* the change that removed it last */
	int fail_reason;        /* 3 node down, 5 process down, 0 never failed */
	uint64_t fail_walltime; /* last failure: seconds since 1970 */
	uint64_t fail_monotime; /* last failure: seconds of the monotonic clock */
};

/* What a change waits for. */
#define DLMC_LS_WAIT_RINGID 1
#define DLMC_LS_WAIT_QUORUM 2
#define DLMC_LS_WAIT_FENCING 3
#define DLMC_LS_WAIT_FSDONE 4

/* A change of a lockspace's members. */
struct dlmc_change {
	int member_count;
	int joined_count;
	int remove_count;
	int failed_count;      /* those of remove_count that failed */
	int wait_condition;    /* DLMC_LS_WAIT_, or the number of start messages missing */
	int wait_messages;     /* 1: start messages are waited for */
	uint32_t seq;          /* 0: there is no such change */
	uint32_t combined_seq; /* the oldest change merged into it */
};

#define DLMC_LF_JOINING 0x01U        /* not started yet */
#define DLMC_LF_LEAVING 0x02U        /* this node is leaving */
#define DLMC_LF_KERNEL_STOPPED 0x04U /* the kernel's locking is stopped */
#define DLMC_LF_FS_REGISTERED 0x08U  /* a file system acknowledges failures */
#define DLMC_LF_NEED_PLOCKS 0x10U    /* POSIX locks are not known yet */
#define DLMC_LF_SAVE_PLOCKS 0x20U    /* POSIX lock messages are kept for later */

struct dlmc_lockspace {
	struct dlmc_change cg_prev; /* the last completed change */
	struct dlmc_change cg_next; /* the newest change in progress */
	uint32_t flags;             /* DLMC_LF_ */
	uint32_t global_id;
	char name[DLM_LOCKSPACE_LEN + 1]; /* with a NUL */
};

/* Which nodes dlmc_lockspace_nodes() lists. */
#define DLMC_NODES_ALL 1     /* every node ever seen */
#define DLMC_NODES_MEMBERS 2 /* members of the last completed change */
#define DLMC_NODES_NEXT 3    /* members of the change in progress */

/* Texts: 0, and up to DLMC_DUMP_SIZE bytes in buf, with no NUL behind them (clear buf before); -1 and errno. An unknown
 * lockspace has no locks: dlmc_dump_plocks() returns 0. */
int dlmc_dump_debug(char *buf);
int dlmc_dump_config(char *buf);
int dlmc_dump_run(char *buf);
int dlmc_dump_log_plock(char *buf);
int dlmc_dump_plocks(char *name, char *buf);

/* 0; -ENOENT: no such lockspace, errno is not set; -1 and errno. A node that was never seen has its nodeid alone set. */
int dlmc_lockspace_info(char *lsname, struct dlmc_lockspace *ls);
int dlmc_node_info(char *lsname, int nodeid, struct dlmc_node *node);

/* All lockspaces, the newest first. After 0, *lss is the caller's to free(), even if *count is 0. */
int dlmc_lockspaces(int *count, struct dlmc_lockspace **lss);

/* Up to max nodes. *count: how many there are in nodes, or -E2BIG: nodes is full, and there are more. Returns 0; -ENOENT
 * for an unknown lockspace; -1 and errno. */
int dlmc_lockspace_nodes(char *lsname, int type, int max, int *count, struct dlmc_node *nodes);

/* Prints what `dlm_tool status` shows to stdout. */
#define DLMC_STATUS_VERBOSE 0x01U
int dlmc_print_status(uint32_t flags);

/* Options. 0: the daemon has the request; what it makes of it, its log says. command: `name=value` or `name=restore`,
 * several with blanks between them, or `restore_all`; at most 1023 bytes count. */
int dlmc_reload_config(void);
int dlmc_set_config(char *command);

/* A file system that wants to be asked before recovery goes on (enable_fscontrol). The answers to a registration and to
 * a notification are read with dlmc_fs_result(), whose name has room for DLM_LOCKSPACE_LEN + 1 bytes: the NUL is the
 * caller's. */
#define DLMC_RESULT_REGISTER 1
#define DLMC_RESULT_NOTIFIED 2
int dlmc_fs_connect(void);
void dlmc_fs_disconnect(int fd);
int dlmc_fs_register(int fd, char *name);
int dlmc_fs_unregister(int fd, char *name);
int dlmc_fs_notified(int fd, char *name, int nodeid);
int dlmc_fs_result(int fd, char *name, int *type, int *nodeid, int *result);

/* Without effect in any daemon. */
int dlmc_deadlock_check(char *name);

/* The caller has made sure that this node, a number as text, is off. */
int dlmc_fence_ack(char *name);

/* Running a command on the other nodes: start gives a uuid, by which check asks what became of it. */
#define DLMC_RUN_UUID_LEN DLM_LOCKSPACE_LEN
#define DLMC_RUN_COMMAND_LEN 1024

/* What the starting node itself does: nothing; run it first; run it when its own request arrives. */
#define DLMC_FLAG_RUN_START_NODE_NONE 0x01U
#define DLMC_FLAG_RUN_START_NODE_FIRST 0x02U
#define DLMC_FLAG_RUN_START_NODE_RECV 0x04U

/* Forget the command if it is done; forget it in any case. */
#define DLMC_FLAG_RUN_CHECK_CLEAR 0x01U
#define DLMC_FLAG_RUN_CHECK_CANCEL 0x02U

/* Answers are missing; all have come; it failed somewhere. 0: the daemon does not know the uuid. */
#define DLMC_RUN_STATUS_WAITING 0x01U
#define DLMC_RUN_STATUS_DONE 0x02U
#define DLMC_RUN_STATUS_FAILED 0x04U

/* nodeid: where to run it, 0 everywhere. run_uuid has room for DLMC_RUN_UUID_LEN bytes. len is not looked at. 0; < 0. */
int dlmc_run_start(char *run_command, int len, int nodeid, uint32_t flags, char *run_uuid);

/* Asks once a second until it is done or wait_sec are over; a negative wait_sec waits until it is done. 0; -1 and errno. */
int dlmc_run_check(char *run_uuid, int len, int wait_sec, uint32_t flags, uint32_t *check_status);

#ifdef __cplusplus
}
#endif

#endif

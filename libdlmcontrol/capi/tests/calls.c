/* `calls FUNCTION ARGUMENT...`: calls a function of the library, and prints all that its caller can see. */

#include <libdlmcontrol.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FILLER '#' /* of buffers, to see what was left alone */

static int result(int value)
{
	printf("returns %d", value);
	if (value == -1)
		printf(" errno %d", errno);
	printf("\n");
	return 0;
}

/* Bytes up to the last one that is not filler. */
static void bytes(const char *what, const char *buf, size_t size)
{
	while (size && buf[size - 1] == FILLER)
		size--;
	printf("%s", what);
	for (size_t i = 0; i < size; i++) {
		unsigned char byte = buf[i];
		if (byte == 0) {
			size_t run = 1;
			while (i + run < size && buf[i + run] == 0)
				run++;
			printf("\\0{%zu}", run);
			i += run - 1;
		} else if (byte < 32 || byte > 126) {
			printf("\\x%02x", byte);
		} else {
			putchar(byte);
		}
	}
	printf("\n");
}

static char *filled(size_t size)
{
	char *buf = malloc(size + 64);
	memset(buf, FILLER, size + 64);
	return buf;
}

static int dump(int (*function)(char *))
{
	char *buf = filled(DLMC_DUMP_SIZE);
	errno = 0;
	result(function(buf));
	bytes("text ", buf, DLMC_DUMP_SIZE + 64);
	return 0;
}

static int fs(int argc, char **argv)
{
	int fd = argc > 3 ? atoi(argv[3]) : dlmc_fs_connect();
	int type = -7, nodeid = -7, value = -7;
	char *name = filled(65);

	printf("connected %d\n", fd >= 0);
	errno = 0;
	result(dlmc_fs_register(fd, argv[2]));
	if (fd >= 0)
		result(dlmc_fs_result(fd, name, &type, &nodeid, &value));
	printf("type %d nodeid %d result %d\n", type, nodeid, value);
	bytes("name ", name, 129);
	result(dlmc_fs_notified(fd, argv[2], 3));
	name = filled(65);
	if (fd >= 0)
		result(dlmc_fs_result(fd, name, &type, &nodeid, &value));
	printf("type %d nodeid %d result %d\n", type, nodeid, value);
	bytes("name ", name, 129);
	result(dlmc_fs_unregister(fd, argv[2]));
	if (argc <= 3)
		dlmc_fs_disconnect(fd);
	return 0;
}

/* What would end the caller with the original library: null pointers, and a daemon that has hung up. */
static int misuse(void)
{
	int pair[2], number;
	uint32_t status;
	char uuid[DLMC_RUN_UUID_LEN];

	result(dlmc_dump_debug(NULL));
	result(dlmc_dump_plocks(NULL, uuid));
	result(dlmc_lockspace_info("fs", NULL));
	result(dlmc_node_info(NULL, 1, NULL));
	result(dlmc_lockspaces(&number, NULL));
	result(dlmc_lockspace_nodes("fs", 1, -1, &number, (struct dlmc_node *)uuid));
	result(dlmc_lockspace_nodes("fs", 9, 1, &number, (struct dlmc_node *)uuid));
	result(dlmc_lockspace_nodes("fs", 1, 1, &number, NULL));
	result(dlmc_set_config(NULL));
	result(dlmc_fence_ack(NULL));
	result(dlmc_deadlock_check(NULL));
	result(dlmc_run_start(NULL, 0, 0, 0, uuid));
	result(dlmc_run_start("lvm", 0, 0, 0, NULL));
	result(dlmc_run_check(uuid, 0, 0, 0, NULL));
	result(dlmc_run_check(NULL, 0, 0, 0, &status));
	result(dlmc_fs_register(0, NULL));
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) {
		close(pair[1]);
		result(dlmc_fs_register(pair[0], "fs"));
		result(dlmc_fs_result(pair[0], NULL, NULL, NULL, NULL));
		dlmc_fs_disconnect(pair[0]);
		result(dlmc_fs_register(pair[0], "fs"));
	}
	return 0;
}

static int lockspaces(void)
{
	struct dlmc_lockspace *lss = NULL;
	int count = -7, value;

	errno = 0;
	value = dlmc_lockspaces(&count, &lss);
	result(value);
	printf("count %d\n", count);
	if (value)
		return 0;
	printf("allocated %d\n", lss != NULL);
	for (int i = 0; i < count; i++)
		bytes("lockspace ", (char *)&lss[i], sizeof(lss[i]));
	free(lss);
	return 0;
}

int main(int argc, char **argv)
{
	const char *function = argc > 1 ? argv[1] : "";
	char *name = argc > 2 ? argv[2] : "";
	int number = argc > 3 ? atoi(argv[3]) : 0;
	char *buf = filled(DLMC_DUMP_SIZE);
	int count = -7;
	uint32_t status = 77;
	int value;

	errno = 0;
	if (!strcmp(function, "dump_debug"))
		return dump(dlmc_dump_debug);
	if (!strcmp(function, "dump_config"))
		return dump(dlmc_dump_config);
	if (!strcmp(function, "dump_run"))
		return dump(dlmc_dump_run);
	if (!strcmp(function, "dump_log_plock"))
		return dump(dlmc_dump_log_plock);
	if (!strcmp(function, "fs"))
		return fs(argc, argv);
	if (!strcmp(function, "lockspaces"))
		return lockspaces();
	if (!strcmp(function, "misuse"))
		return misuse();
	if (!strcmp(function, "dump_plocks")) {
		result(dlmc_dump_plocks(name, buf));
		bytes("text ", buf, DLMC_DUMP_SIZE + 64);
	} else if (!strcmp(function, "lockspace_info")) {
		result(dlmc_lockspace_info(name, (struct dlmc_lockspace *)buf));
		bytes("lockspace ", buf, 256);
	} else if (!strcmp(function, "node_info")) {
		result(dlmc_node_info(name, number, (struct dlmc_node *)buf));
		bytes("node ", buf, 256);
	} else if (!strcmp(function, "lockspace_nodes")) {
		result(dlmc_lockspace_nodes(name, number, atoi(argv[4]), &count, (struct dlmc_node *)buf));
		printf("count %d\n", count);
		bytes("nodes ", buf, 256);
	} else if (!strcmp(function, "print_status")) {
		printf("before\n");
		value = dlmc_print_status(atoi(name));
		printf("after\n");
		result(value);
	} else if (!strcmp(function, "reload_config")) {
		result(dlmc_reload_config());
	} else if (!strcmp(function, "set_config")) {
		result(dlmc_set_config(name));
	} else if (!strcmp(function, "deadlock_check")) {
		result(dlmc_deadlock_check(name));
	} else if (!strcmp(function, "fence_ack")) {
		result(dlmc_fence_ack(name));
	} else if (!strcmp(function, "run_start")) {
		result(dlmc_run_start(name, 5, number, DLMC_FLAG_RUN_START_NODE_NONE, buf));
		bytes("uuid ", buf, 256);
	} else if (!strcmp(function, "run_check")) {
		result(dlmc_run_check(name, 5, number, DLMC_FLAG_RUN_CHECK_CLEAR, &status));
		printf("status %u\n", status);
	} else {
		fprintf(stderr, "calls: no function %s\n", function);
		return 2;
	}
	return 0;
}

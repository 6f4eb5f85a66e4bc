/* Copyright The halfclose Authors */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A client that leaves SIGPIPE as it is: client ADDRESS PORT
 *
 * It sends a line, reads it back and prints "ready". When a line comes it sends again; if it reads the end of file
 * instead of an answer it connects again, once. It prints "ok" when it has an answer.
 */
#include <arpa/inet.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int connected(const char *address, const char *port) {
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		err(1, "connect");
	return fd;
}

/* ask returns whether there was an answer. */
static int ask(int fd) {
	char answer[100];
	return write(fd, "ping\n", 5) == 5 && read(fd, answer, sizeof(answer)) > 0;
}

int main(int argc, char **argv) {
	char line[100];
	if (argc != 3)
		errx(1, "want ADDRESS PORT");
	int fd = connected(argv[1], argv[2]);
	if (!ask(fd))
		errx(1, "no answer");
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		errx(1, "no line");
	if (!ask(fd)) {
		close(fd);
		fd = connected(argv[1], argv[2]);
		if (!ask(fd))
			errx(1, "no answer on a new connection");
	}
	puts("ok");
	return 0;
}

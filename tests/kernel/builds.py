"""Small C programs that tests need: built from their text, or the test is skipped with the reason."""

import shutil
import subprocess
from pathlib import Path

import pytest

from integration.child import LONG

CONNECT = r"""
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **args)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(atoi(args[3]))};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(args[2]))};
	int one = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
	size_t size = strlen(args[4]);

	setsockopt(one, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	inet_pton(AF_INET, args[1], &to.sin_addr);
	if (bind(one, (void *)&from, sizeof(from)) || connect(one, (void *)&to, sizeof(to)))
		return 1;
	return write(one, args[4], size) == (ssize_t)size ? 0 : 2;
}
"""
"""ADDRESS PORT LOCAL_PORT TEXT: connects, writes the text, and ends."""

HEADLESS = r"""
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static char **args;
static int reach(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(args[2]))};
	int one = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, args[1], &to.sin_addr);
	if (connect(one, (void *)&to, sizeof(to)) || write(one, args[3], strlen(args[3])) < 1)
		exit(1);
	return one;
}
static void *go_on(void *none)
{
	char line[10], stat[64], state;
	int held;

	snprintf(stat, sizeof(stat), "/proc/self/task/%d/stat", getpid());
	do {  /* wait until the first thread has gone */
		FILE *file = fopen(stat, "r");
		if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			exit(2);
		fclose(file);
	} while (state != 'Z');
	held = reach();
	puts("headless");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(3);
	close(held);
	close(reach());
	exit(0);
}
int main(int count, char **given)
{
	pthread_t other;

	args = given;
	pthread_create(&other, NULL, go_on, NULL);
	syscall(SYS_exit, 0);
}
"""
"""ADDRESS PORT TEXT: its first thread ends; another one connects at once, and once more when it is told to."""


def build(folder: Path, name: str, source: str, *options: str) -> Path:
    """Build a program, linked statically where that is possible: it then starts in half a millisecond."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("cc is not installed")
    text, program = folder / f"{name}.c", folder / name
    text.write_text(source)
    for more in (["-static"], []):
        command = [compiler, "-O2", "-w", *more, *options, "-o", str(program), str(text)]
        made = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LONG)
        if not made.returncode:
            return program
    raise AssertionError(made.stderr)

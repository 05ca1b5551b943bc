/* Records in the ring, as decode.py reads them: little-endian, no padding, every record begins with a head. */
#ifndef OUTWATCH_EVENT_H
#define OUTWATCH_EVENT_H

#define EVENT_OPEN 1      /* a connection is tried, or was accepted */
#define EVENT_STATE 2     /* it was answered: both ends are known */
#define EVENT_CLOSE 3     /* it is over, with its totals */
#define EVENT_EXEC 4      /* a process runs another program */
#define EVENT_FORK 5
#define EVENT_EXIT 6
#define EVENT_TOTAL 7     /* an open connection, with what it has carried so far */
#define EVENT_SHARE 8     /* another process uses the socket: it is the one named */
#define EVENT_BURST 9     /* connections that were not told one by one, counted together */
#define EVENT_NAME 10     /* bytes in which a name may stand */
#define EVENT_GROUP 11    /* a group of processes was made: a service, a container */
#define EVENT_KINDS 12

#define FLAG_INGRESS 1    /* opened from outside */
#define FLAG_FAILED 2     /* never answered */
#define FLAG_KERNEL 4     /* no process of its own */
#define FLAG_EXISTING 8   /* it was there before this watch */
#define FLAG_LISTENS 16   /* it waits for callers: no connection */

#define NAME_ANSWER 1     /* of a name server, a datagram */
#define NAME_STREAM 2     /* what a name server sends over TCP */
#define NAME_CLIENT 3     /* what a client says first over TCP */
#define NAME_QUIC 4       /* a client's first datagrams */

#define PATH_SLOTS 16
#define PATH_SLOT 64
#define FOLDER_SLOTS 8
#define GROUP_MOST 512
#define ARGS_MOST 1024

struct head {
	u16 size;             /* of the whole record */
	u8 kind;
	u8 flags;
	u32 cpu;
	u64 time;             /* nanoseconds of the boot clock */
};

struct flow {
	struct head head;
	u64 id;
	u64 socket;           /* id of the first flow of its socket */
	u64 sent;             /* by this host */
	u64 received;
	u64 start;            /* of the process: nanoseconds of the boot clock */
	u64 cgroup;
	u32 pid;              /* 0: nobody's */
	u32 uid;
	u32 netns;
	u16 family;
	u16 protocol;
	u16 local_port;
	u16 remote_port;
	u16 error;            /* errno of a failed attempt */
	u16 type;             /* of the socket: SOCK_STREAM … */
	u8 local[16];
	u8 remote[16];
	char comm[16];
};

struct burst {            /* BURST: id and time are those of the first and the last of them */
	struct flow flow;
	u64 count;
};

struct life {             /* FORK: pid is the child; EXIT */
	struct head head;
	u64 start;
	u64 parent_start;
	u32 pid;
	u32 parent;
};

struct program {          /* EXEC */
	struct head head;
	u64 start;
	u64 parent_start;
	u64 cgroup;
	u64 inode;
	u32 pid;
	u32 parent;
	u32 uid;
	u32 mntns;
	u32 device;
	u32 links;            /* names that the file has; 0: deleted */
	u8 folder_slots;      /* as slots and more */
	u8 folder_more;
	u16 unused;
	u16 args_size;        /* bytes of args, which end the record */
	u8 slots;             /* of path that are used, the last component first */
	u8 more;              /* the path has more components than slots */
	char comm[16];
	char path[PATH_SLOTS][PATH_SLOT];
	char folder[FOLDER_SLOTS][PATH_SLOT];  /* that it works in */
	char args[ARGS_MOST];
};

struct group {
	struct head head;
	u64 id;               /* as flows have it */
	char path[GROUP_MOST];  /* from the root of the tree, ends the record */
};

struct name {
	struct head head;
	u64 id;               /* of the connection, or of the first flow of its socket */
	u64 start;
	u32 pid;
	u32 uid;
	u32 netns;
	u32 sequence;         /* of the first byte (TCP) */
	u16 family;
	u16 protocol;
	u16 local_port;
	u16 remote_port;
	u16 bytes;            /* that were copied; data is longer */
	u16 what;
	u32 began;            /* the number of the first byte that its side ever said (TCP) */
	u8 local[16];
	u8 remote[16];
	u8 data[];
};

#endif

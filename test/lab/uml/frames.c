/*
 * The guest's eyes and voice: watches every frame that reaches it, sends frames no ordinary program sends.
 *
 *   frames watch DEV...                       counts received frames; each SIGUSR1 writes the counts to /tmp/frames
 *   frames send DEV DST TAG ETHERTYPE TEXT    one frame; DST a MAC, TAG a VLAN ID or -, ETHERTYPE in hex
 *   frames replay DEV FILE                    every frame of a file, each its length in two bytes and itself
 *
 * A line of /tmp/frames: COUNT DEV TAG ETHERTYPE SOURCE DESTINATION TEXT. TAG is - or the VLAN ID on the wire, priority
 * tags included. TEXT is the printable start of the payload up to a space, - if there is none.
 */
#include <ctype.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_KINDS 4096
#define MOST_TEXT 32

static struct {
  char key[128];
  unsigned long count;
} kinds[MOST_KINDS];
static int kind_count;
static volatile sig_atomic_t wanted;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void want(int signal) {
  (void)signal;
  wanted = 1;
}

/* Another name first, so that a reader never sees half a table. */
static void write_table(void) {
  FILE *file = fopen("/tmp/frames.new", "w");
  if (file == NULL) fail("/tmp/frames.new");
  for (int i = 0; i < kind_count; i++) fprintf(file, "%lu %s\n", kinds[i].count, kinds[i].key);
  if (fclose(file) != 0 || rename("/tmp/frames.new", "/tmp/frames") != 0) fail("/tmp/frames");
}

static void count(const char *key) {
  for (int i = 0; i < kind_count; i++) {
    if (strcmp(kinds[i].key, key) != 0) continue;
    kinds[i].count++;
    return;
  }
  if (kind_count == MOST_KINDS) return;
  strcpy(kinds[kind_count].key, key);
  kinds[kind_count++].count = 1;
}

static void text_of(const unsigned char *payload, int length, char *text) {
  int n = 0;
  while (n < length && n < MOST_TEXT - 1 && isgraph(payload[n])) {
    text[n] = (char)payload[n];
    n++;
  }
  if (n == 0) text[n++] = '-';
  text[n] = '\0';
}

/* The kernel takes the outer tag off before it hands the frame over, and tells it beside the frame. */
static int tag_of(struct msghdr *message) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA) continue;
    struct tpacket_auxdata aux;
    memcpy(&aux, CMSG_DATA(c), sizeof aux);
    if (aux.tp_status & TP_STATUS_VLAN_VALID) return aux.tp_vlan_tci & 0xfff;
  }
  return -1;
}

static void read_frame(int fd, const char *dev) {
  unsigned char frame[2048], control[256];
  char key[128], tag[8] = "-", text[MOST_TEXT];
  struct sockaddr_ll from;
  struct iovec part = {frame, sizeof frame};
  struct msghdr message = {&from, sizeof from, &part, 1, control, sizeof control, 0};
  ssize_t length = recvmsg(fd, &message, 0);
  if (length < 14 || from.sll_pkttype == PACKET_OUTGOING) return;
  int vid = tag_of(&message);
  if (vid >= 0) snprintf(tag, sizeof tag, "%d", vid);
  text_of(frame + 14, (int)length - 14, text);
  const unsigned char *d = frame, *s = frame + 6;
  snprintf(key, sizeof key, "%s %s %02x%02x %02x:%02x:%02x:%02x:%02x:%02x %02x:%02x:%02x:%02x:%02x:%02x %s", dev, tag,
           frame[12], frame[13], s[0], s[1], s[2], s[3], s[4], s[5], d[0], d[1], d[2], d[3], d[4], d[5], text);
  count(key);
}

static int open_socket(const char *dev) {
  int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), on = 1, size = 1 << 20;
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(dev)};
  struct packet_mreq all = {.mr_ifindex = address.sll_ifindex, .mr_type = PACKET_MR_PROMISC};
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0) fail(dev);
  setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on);
  setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  return fd;
}

static void watch(int count, char **devs) {
  struct pollfd sockets[16];
  struct sigaction action = {.sa_handler = want};
  sigaction(SIGUSR1, &action, NULL);
  for (int i = 0; i < count && i < 16; i++) sockets[i] = (struct pollfd){open_socket(devs[i]), POLLIN, 0};
  write_table();
  for (;;) {
    /* The timeout is for a signal that comes between the test and poll. */
    int ready = poll(sockets, (nfds_t)count, 100);
    for (int i = 0; ready > 0 && i < count; i++)
      if (sockets[i].revents != 0) read_frame(sockets[i].fd, devs[i]);
    if (!wanted || ready > 0) continue;
    wanted = 0;
    write_table();
  }
}

static void send_frame(char **words) {
  unsigned char frame[64] = {0};
  struct sockaddr_ll address;
  socklen_t size = sizeof address;
  int fd = open_socket(words[0]), at = 12;
  if (sscanf(words[1], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", frame, frame + 1, frame + 2, frame + 3, frame + 4, frame + 5) != 6) exit(2);
  if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) fail("getsockname");
  memcpy(frame + 6, address.sll_addr, 6);
  if (strcmp(words[2], "-") != 0) {
    int vid = atoi(words[2]);
    frame[at++] = 0x81;
    frame[at++] = 0x00;
    frame[at++] = (unsigned char)(vid >> 8);
    frame[at++] = (unsigned char)vid;
  }
  long type = strtol(words[3], NULL, 16);
  frame[at++] = (unsigned char)(type >> 8);
  frame[at++] = (unsigned char)type;
  strncpy((char *)frame + at, words[4], sizeof frame - (size_t)at - 1);
  if (send(fd, frame, sizeof frame, 0) != sizeof frame) fail("send");
}

/* What the link refuses is told; where its queue is full there is room again soon. */
static int send_whole(int fd, const unsigned char *frame, size_t length) {
  while (send(fd, frame, length, 0) < 0) {
    if (errno != ENOBUFS && errno != EAGAIN) return 0;
    usleep(2000);
  }
  return 1;
}

static void replay(const char *dev, const char *path) {
  unsigned char head[2], frame[2048];
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(dev)};
  /* Protocol 0: it hears nothing, not even itself. */
  int fd = socket(AF_PACKET, SOCK_RAW, 0), sent = 0, refused = 0;
  FILE *file = fopen(path, "r");
  if (file == NULL) fail(path);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0) fail(dev);
  while (fread(head, 1, sizeof head, file) == sizeof head) {
    size_t length = (size_t)head[0] << 8 | head[1];
    if (length > sizeof frame || fread(frame, 1, length, file) != length) exit(2);
    if (send_whole(fd, frame, length)) sent++;
    else refused++;
  }
  printf("sent %d, refused %d\n", sent, refused);
}

int main(int argc, char **argv) {
  if (argc >= 3 && strcmp(argv[1], "watch") == 0) watch(argc - 2, argv + 2);
  else if (argc == 7 && strcmp(argv[1], "send") == 0) send_frame(argv + 2);
  else if (argc == 4 && strcmp(argv[1], "replay") == 0) replay(argv[2], argv[3]);
  else return 2;
  return 0;
}

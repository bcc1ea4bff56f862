/* A USB camera without hardware: preloaded, it acts as the V4L2 driver of the file $FAKE_V4L2.

YUYV in 64x48 and 128x96 at 50 frames/s, brightness counting up. While a file $FAKE_V4L2.gone
exists the cable is pulled (ENODEV), while $FAKE_V4L2.hung does the driver never returns. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { BUFFERS = 4, LARGEST = 128 * 96 * 2 };

static char ours[1 << 16]; /* which descriptors play the camera */
static unsigned width = 64, height = 48, next_buffer, frame;
static unsigned char *memory[BUFFERS];

static int marked(const char *what) {
  char path[4096];
  snprintf(path, sizeof path, "%s.%s", getenv("FAKE_V4L2"), what);
  return access(path, F_OK) == 0;
}

static int plays(const char *path) {
  const char *name = getenv("FAKE_V4L2");
  return name && strcmp(path, name) == 0;
}

static int opened(const char *name, const char *path, int flags, int mode) {
  int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
  if (!plays(path)) return real(path, flags, mode);
  if (marked("gone")) return errno = ENODEV, -1;
  int handle = real("/dev/null", O_RDWR);
  ours[handle] = 1;
  return handle;
}

int open(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  int mode = va_arg(rest, int);
  va_end(rest);
  return opened("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  int mode = va_arg(rest, int);
  va_end(rest);
  return opened("open64", path, flags, mode);
}

int close(int handle) {
  int (*real)(int) = dlsym(RTLD_NEXT, "close");
  if (handle >= 0) ours[handle] = 0;
  return real(handle);
}

static void *mapped(const char *name, void *at, size_t size, int use, int kind, int handle, off_t from) {
  void *(*real)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, name);
  if (handle < 0 || !ours[handle]) return real(at, size, use, kind, handle, from);
  void *found = real(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory[from / LARGEST] = found;
}

void *mmap(void *at, size_t size, int use, int kind, int handle, off_t from) {
  return mapped("mmap", at, size, use, kind, handle, from);
}

void *mmap64(void *at, size_t size, int use, int kind, int handle, off_t from) {
  return mapped("mmap64", at, size, use, kind, handle, from);
}

static void tell_format(struct v4l2_pix_format *format) {
  format->width = width;
  format->height = height;
  format->pixelformat = V4L2_PIX_FMT_YUYV;
  format->field = V4L2_FIELD_NONE;
  format->bytesperline = 2 * width;
  format->sizeimage = 2 * width * height;
}

static void set_format(struct v4l2_pix_format *format) {
  int large = format->width > 96; /* the nearest size, without a word, as drivers do */
  width = large ? 128 : 64;
  height = large ? 96 : 48;
  tell_format(format);
}

static int dequeue(struct v4l2_buffer *buffer) {
  while (marked("hung")) sleep(1);
  if (marked("gone")) return errno = ENODEV, -1;
  struct timespec now, period = {0, 20000000};
  nanosleep(&period, NULL);
  clock_gettime(CLOCK_MONOTONIC, &now);
  buffer->index = next_buffer++ % BUFFERS;
  buffer->bytesused = 2 * width * height;
  buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
  buffer->timestamp.tv_sec = now.tv_sec;
  buffer->timestamp.tv_usec = now.tv_nsec / 1000;
  unsigned char *picture = memory[buffer->index];
  for (unsigned at = 0; at < buffer->bytesused; at += 2) {
    picture[at] = 16 + frame % 200;
    picture[at + 1] = 128;
  }
  frame++;
  return 0;
}

static int listed(unsigned long request, void *data) {
  if (request == VIDIOC_ENUM_FMT) {
    struct v4l2_fmtdesc *format = data;
    format->pixelformat = V4L2_PIX_FMT_YUYV;
    return format->index ? (errno = EINVAL, -1) : 0;
  }
  if (request == VIDIOC_ENUM_FRAMESIZES) {
    struct v4l2_frmsizeenum *size = data;
    size->type = V4L2_FRMSIZE_TYPE_DISCRETE;
    size->discrete.width = size->index ? 128 : 64;
    size->discrete.height = size->index ? 96 : 48;
    return size->index > 1 ? (errno = EINVAL, -1) : 0;
  }
  struct v4l2_frmivalenum *rate = data;
  rate->type = V4L2_FRMIVAL_TYPE_DISCRETE;
  rate->discrete = (struct v4l2_fract){1, 50};
  return rate->index ? (errno = EINVAL, -1) : 0;
}

static int answered(unsigned long request, void *data) {
  struct v4l2_buffer *buffer = data;
  switch (request) {
    case VIDIOC_QUERYCAP: {
      struct v4l2_capability *can = data;
      can->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
      return 0;
    }
    case VIDIOC_G_INPUT: *(int *)data = 0; return 0;
    case VIDIOC_ENUMINPUT: return 0;
    case VIDIOC_G_FMT: tell_format(&((struct v4l2_format *)data)->fmt.pix); return 0;
    case VIDIOC_S_FMT: set_format(&((struct v4l2_format *)data)->fmt.pix); return 0;
    case VIDIOC_S_PARM:
    case VIDIOC_G_PARM: {
      struct v4l2_streamparm *rate = data;
      rate->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
      rate->parm.capture.timeperframe = (struct v4l2_fract){1, 50};
      return 0;
    }
    case VIDIOC_REQBUFS: ((struct v4l2_requestbuffers *)data)->count = BUFFERS; return 0;
    case VIDIOC_QUERYBUF:
      buffer->length = LARGEST;
      buffer->m.offset = buffer->index * LARGEST;
      return 0;
    case VIDIOC_QBUF:
    case VIDIOC_STREAMON:
    case VIDIOC_STREAMOFF: return 0;
    case VIDIOC_DQBUF: return dequeue(buffer);
    case VIDIOC_ENUM_FMT:
    case VIDIOC_ENUM_FRAMESIZES:
    case VIDIOC_ENUM_FRAMEINTERVALS: return listed(request, data);
    default: return errno = ENOTTY, -1;
  }
}

int ioctl(int handle, unsigned long request, ...) {
  int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
  va_list rest;
  va_start(rest, request);
  void *data = va_arg(rest, void *);
  va_end(rest);
  if (handle < 0 || !ours[handle]) return real(handle, request, data);
  return answered(request & 0xffffffff, data);
}

/* Receives from the daemon's socket without Python, the GIL released, until whole replies are there.
 *
 * A wait begins with a little spinning: a daemon on another processor answers in less time than it takes to put this
 * thread to sleep and to wake it. Whether that pays is learnt from what the last answers took, spun for and not. A
 * wait for many replies naps instead: waking for each of them would cost the daemon, which does the waking, more than
 * its work.
 *
 * The caller keeps the bytes that it gets; this only follows where messages begin and end. What was received and is of no
 * use to who received it (turns.c) is held, and is the first that the next xsffi_receive returns: so nothing is lost
 * where a signal handler runs between the two.
 */

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define XSFFI_SPIN_OTHER_WAY 64 /* one wait in so many goes the way that was slower lately */
/* While more replies than this are missing, naps: so long for each that is, but not so long that the daemon finds the
 * socket's buffer full. In nanoseconds. After so many in which nothing came, no more until something does: the daemon
 * has other work, or hangs, and a signal that comes between two naps ends neither. */
#define XSFFI_NAP_MISSING 16
#define XSFFI_NAP_FOR_EACH 1500
#define XSFFI_NAP_MAX 100000
#define XSFFI_NAPS_IN_VAIN 10

static int64_t xsffi_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Follows the stream through the bytes that have come in. */
static void xsffi_follow(struct xsffi_stream *s, const char *data, size_t size)
{
    while (size > 0) {
        size_t step;

        if (s->body_left > 0) {
            step = size < s->body_left ? size : (size_t)s->body_left;
            s->body_left -= step;
        } else {
            uint32_t words[4];

            step = XSFFI_HEADER_SIZE - s->header_have;
            if (step > size)
                step = size;
            memcpy(s->header + s->header_have, data, step);
            s->header_have += (uint32_t)step;
            if (s->header_have < XSFFI_HEADER_SIZE)
                return;
            memcpy(words, s->header, sizeof words);
            s->header_have = 0;
            s->is_reply = words[0] != XSFFI_WATCH_EVENT;
            s->body_left = words[3];
        }
        data += step;
        size -= step;
        if (s->body_left == 0 && s->header_have == 0)
            s->replies += s->is_reply;
    }
}

/* How long to spin now, in nanoseconds: at all if that was the faster way lately, and now and then if it was not, or
 * not if it was, to see whether that has changed. */
static int64_t xsffi_spin_time(struct xsffi_stream *s)
{
    bool spin = s->trip[true] <= s->trip[false];

    if (s->spin_max <= 0 || s->crowded)
        return 0;
    if (++s->waits % XSFFI_SPIN_OTHER_WAY == 0)
        spin = !spin;
    return spin ? s->spin_max : 0;
}

static void xsffi_learn(struct xsffi_stream *s, bool spun, int64_t trip)
{
    /* One that was very long says little about either way: the daemon had other work. */
    if (trip > 4 * s->spin_max)
        trip = 4 * s->spin_max;
    s->trip[spun] += (trip - s->trip[spun]) / 8;
}

/* Receives into the buffer until it holds `want` whole replies (0: anything at all), or is full, or `timeout`
 * nanoseconds are over, or the socket takes more where `writing`, or `wake_fd` is readable, or a signal came. Returns
 * how many bytes came; s->status says what else happened. The buffer is the same at each call.
 */
static int xsffi_receive(struct xsffi_stream *s, char *buffer, int capacity, int want, int writing, int64_t timeout)
{
    const int64_t begin = xsffi_now();
    const bool waits_for_one = want == 1 && !writing && timeout != 0;
    const int64_t spin = waits_for_one ? xsffi_spin_time(s) : 0;
    int have = s->held;
    int in_vain = 0;

    s->status = XSFFI_STREAM_OPEN;
    s->held = 0;
    if (have == 0)
        s->replies = 0;
    else if (s->replies >= (uint32_t)want || have == capacity)
        return have;
    for (;;) {
        struct pollfd polled[2] = { { .fd = s->fd, .events = POLLIN }, { .fd = s->wake_fd, .events = POLLIN } };
        struct timespec left;
        int64_t rest;
        ssize_t n = recv(s->fd, buffer + have, (size_t)(capacity - have), MSG_DONTWAIT);

        if (n > 0) {
            xsffi_follow(s, buffer + have, (size_t)n);
            have += (int)n;
            in_vain = 0;
            if (s->replies < (uint32_t)want && have < capacity)
                continue;
            if (waits_for_one)
                xsffi_learn(s, spin > 0, xsffi_now() - begin);
            return have;
        }
        if (n == 0) {
            s->status = XSFFI_STREAM_ENDED;
            return have;
        }
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            s->status = errno == EINTR ? XSFFI_STREAM_OPEN : errno;
            return have;
        }
        if (spin > 0 && xsffi_now() - begin < spin)
            continue; /* also behind the header, which xenstored sends by itself */
        if (in_vain < XSFFI_NAPS_IN_VAIN && s->replies + XSFFI_NAP_MISSING < (uint32_t)want) {
            int64_t nap = (want - (int64_t)s->replies) * XSFFI_NAP_FOR_EACH;

            left = (struct timespec){ .tv_nsec = nap < XSFFI_NAP_MAX ? nap : XSFFI_NAP_MAX };
            switch (ppoll(polled + 1, 1, &left, NULL)) {
            case 0:
                in_vain++;
                if (xsffi_now() - begin < timeout)
                    continue;
                break;
            case -1:
                return have; /* a signal: its handler is Python's */
            }
        }
        rest = timeout - (xsffi_now() - begin);
        if (rest <= 0)
            return have;
        left = (struct timespec){ .tv_sec = rest / 1000000000, .tv_nsec = rest % 1000000000 };
        if (writing)
            polled[0].events |= POLLOUT;
        if (ppoll(polled, 2, &left, NULL) < 0)
            return have; /* a signal: its handler is Python's */
        if (polled[1].revents) {
            s->status = XSFFI_STREAM_WOKEN;
            return have;
        }
        if (polled[0].revents & POLLOUT && !(polled[0].revents & POLLIN))
            return have;
    }
}

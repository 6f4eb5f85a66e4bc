// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultJournalSocket is where systemd-journald takes datagrams of its native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
const DefaultJournalSocket = "/run/systemd/journal/socket"

// maxWait bounds how long one line may wait for a reader that is busy or stuck.
const maxWait = 100 * time.Millisecond

// maxValue bounds a field's value, in bytes. A datagram holds about 200 KiB on a default kernel
// (net.core.wmem_default), and part of what is logged was written by a pod's owner.
const maxValue = 16 << 10

// The priorities used, from syslog(3).
const (
	priorityError   = "3"
	priorityWarning = "4"
	priorityInfo    = "6"
	priorityDebug   = "7"
)

// field is one NAME=value of a journal entry.
type field struct{ name, value string }

// appendField adds a field to a datagram: as a line, or with its length in front if the value would
// not fit on one.
func appendField(b []byte, f field) []byte {
	value := truncate(f.value)
	b = append(b, f.name...)
	if !strings.Contains(value, "\n") {
		b = append(b, '=')
	} else {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	}
	b = append(b, value...)
	return append(b, '\n')
}

// truncate cuts a value that is too long, and shows that it did. Half a rune at the cut is dropped.
func truncate(s string) string {
	if len(s) <= maxValue {
		return s
	}
	return strings.ToValidUTF8(s[:maxValue], "") + "..."
}

// journal sends datagrams to journald's socket. It is safe for concurrent use.
type journal struct {
	path string

	mu   sync.Mutex
	conn *net.UnixConn // nil after Close, or while there is nobody at path
	lost int           // lines that could not be sent since the last one that was
	done bool
}

// dialJournal connects to the socket at path; it fails if nobody is bound to it.
func dialJournal(path string) (*journal, error) {
	if path == "" {
		path = DefaultJournalSocket
	}
	j := &journal{path: path}
	if err := j.dial(); err != nil {
		return nil, err
	}
	return j, nil
}

// dial connects anew. The socket is connected, not only addressed: the kernel wakes a waiting writer when
// the reader makes room only if the two are connected.
func (j *journal) dial() error {
	j.hangUp()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", j.path, errno(err))
	}
	j.conn = conn
	return nil
}

// hangUp drops the connection. Closing a datagram socket has nothing to report.
func (j *journal) hangUp() {
	if j.conn != nil {
		_ = j.conn.Close()
		j.conn = nil
	}
}

// Close hangs up. Lines sent after it are dropped.
func (j *journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done = true
	j.hangUp()
	return nil
}

// send sends the datagram that compose makes. compose is told how many lines were lost before this one,
// and whether the datagram has to be small, because its first one was refused for its size.
//
// A line waits until deadline at most, and not at all after a line that waited in vain: a stuck journal
// costs its user one wait, not one for each line.
func (j *journal) send(deadline time.Time, compose func(lost int, small bool) []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.done {
		return net.ErrClosed
	}
	err := j.try(compose(j.lost, false), deadline)
	if errors.Is(err, unix.EMSGSIZE) {
		err = j.try(compose(j.lost, true), deadline)
	}
	if err != nil {
		j.lost++
		return err
	}
	j.lost = 0
	return nil
}

// try writes one datagram, connecting again if journald is another one than before.
func (j *journal) try(datagram []byte, deadline time.Time) error {
	if j.conn != nil {
		err := write(j.conn, datagram, deadline, j.lost == 0)
		if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.EPIPE) {
			return err
		}
	}
	if err := j.dial(); err != nil {
		return err
	}
	return write(j.conn, datagram, deadline, j.lost == 0)
}

// write sends one datagram. It tries once whatever the time is, and if the reader's queue is full, and it
// may wait, until deadline.
func write(conn *net.UnixConn, datagram []byte, deadline time.Time, wait bool) error {
	err := sendBefore(time.Time{}, conn, datagram, false)
	if wait && errors.Is(err, unix.EAGAIN) {
		err = sendBefore(deadline, conn, datagram, true)
	}
	if err != nil {
		return fmt.Errorf("write to the journal: %w", err)
	}
	return nil
}

// sendBefore sends one datagram: with wait until deadline, without it at once or not at all. The zero
// deadline is none.
func sendBefore(deadline time.Time, conn *net.UnixConn, datagram []byte, wait bool) error {
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	rc, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = rc.Write(func(fd uintptr) bool {
		for {
			sent = unix.Send(int(fd), datagram, unix.MSG_NOSIGNAL)
			if !errors.Is(sent, unix.EINTR) {
				return !wait || !errors.Is(sent, unix.EAGAIN) // false: wait for room
			}
		}
	})
	if err != nil {
		return err
	}
	return sent
}

// errno returns the errno inside err where there is one: net's own text repeats the address.
func errno(err error) error {
	if e, ok := errors.AsType[unix.Errno](err); ok {
		return e
	}
	return err
}

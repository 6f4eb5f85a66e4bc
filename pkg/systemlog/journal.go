// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// DefaultJournalSocket is where systemd-journald takes datagrams of its native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
const DefaultJournalSocket = "/run/systemd/journal/socket"

// MaxWait bounds how long one line may wait for a reader that is busy or stuck.
const MaxWait = 100 * time.Millisecond

// maxValue bounds a field's value, in bytes. A datagram holds about 200 KiB on a default kernel
// (net.core.wmem_default), and part of what is logged was written by a pod's owner.
const maxValue = 16 << 10

// The priorities used, from syslog(3).
const (
	PriorityError   = "3"
	PriorityWarning = "4"
	PriorityInfo    = "6"
	PriorityDebug   = "7"
)

// Attr is an attribute of a line.
type Attr struct{ Key, Value string }

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

// LostKey is the attribute that says how many lines before this one could not be written.
const LostKey = "lost_lines"

// Entry makes the datagram of one journal entry. A small one keeps the attributes in MESSAGE only, which is cut like any value.
func Entry(identifier, priority, message string, attrs []Attr, lost int, small bool) []byte {
	if lost > 0 {
		attrs = append(slices.Clip(attrs), Attr{LostKey, strconv.Itoa(lost)})
	}
	b := appendField(nil, field{"MESSAGE", line(message, attrs)})
	b = appendField(b, field{"PRIORITY", priority})
	b = appendField(b, field{"SYSLOG_IDENTIFIER", identifier})
	if small {
		return b
	}
	for _, a := range attrs {
		b = appendField(b, field{fieldName(a.Key), a.Value})
	}
	return b
}

// line is the message with its attributes as people read them, on one line.
func line(message string, attrs []Attr) string {
	var b strings.Builder
	b.WriteString(strings.Map(oneLine, message))
	for _, a := range attrs {
		b.WriteByte(' ')
		b.WriteString(quote(a.Key))
		b.WriteByte('=')
		b.WriteString(quote(a.Value))
	}
	return b.String()
}

// oneLine turns what would break the line, or move a terminal's cursor, into a space.
func oneLine(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// quote quotes what would not read back as one word.
func quote(s string) string {
	plain := s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '"' || r == '=' || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
	if plain {
		return s
	}
	return strconv.Quote(s)
}

// maxName is the longest field name that journald takes, in bytes (systemd's journal-field.h: 64).
const maxName = 64

// fieldName turns a key into a name that journald takes: A to Z, 0 to 9 and _, not starting with a digit
// nor with _ (those are journald's own), and none of the fields that an entry has anyway.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key)
	if name == "" || name[0] == '_' || '0' <= name[0] && name[0] <= '9' ||
		name == "MESSAGE" || name == "PRIORITY" || strings.HasPrefix(name, "SYSLOG_") {
		name = "HALFCLOSE_" + name
	}
	return name[:min(len(name), maxName)]
}

// Journal sends datagrams to journald's socket. It is safe for concurrent use.
type Journal struct {
	path string

	mu   sync.Mutex
	conn *net.UnixConn // nil after Close, or while there is nobody at path
	lost int           // lines that could not be sent since the last one that was
	done bool
}

// Dial connects to the socket at path, DefaultJournalSocket if it is empty; it fails if no process is bound to it.
func Dial(path string) (*Journal, error) {
	if path == "" {
		path = DefaultJournalSocket
	}
	j := &Journal{path: path}
	if err := j.dial(); err != nil {
		return nil, err
	}
	return j, nil
}

// dial connects anew. The socket is connected, not only addressed: the kernel wakes a waiting writer when
// the reader makes room only if the two are connected.
func (j *Journal) dial() error {
	j.hangUp()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", j.path, errno(err))
	}
	j.conn = conn
	return nil
}

// hangUp drops the connection. Closing a datagram socket has nothing to report.
func (j *Journal) hangUp() {
	if j.conn != nil {
		_ = j.conn.Close()
		j.conn = nil
	}
}

// Close hangs up. Lines sent after it are dropped.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done = true
	j.hangUp()
	return nil
}

// Send sends the datagram that compose makes. Its arguments are how many lines were lost before this one,
// and whether the datagram has to be small, because its first one was refused for its size.
//
// A line waits until deadline at most, and not at all after a line that waited in vain: a stuck journal
// costs its user one wait, not one for each line.
func (j *Journal) Send(deadline time.Time, compose func(lost int, small bool) []byte) error {
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
func (j *Journal) try(datagram []byte, deadline time.Time) error {
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

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemlog

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// syslogWarning is the priority of a syslog line: facility daemon (3), severity warning (4).
const syslogWarning = 3<<3 | 4

// dialSyslog connects to a syslog daemon's socket, or if path is empty to the first of the paths of log/syslog with a listener.
func dialSyslog(path string) (*os.File, error) {
	paths := []string{"/dev/log", "/var/run/syslog", "/var/run/log"}
	if path != "" {
		paths = []string{path}
	}
	var all error
	for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		for _, path := range paths {
			conn, err := connectSocket(kind, path)
			if err == nil {
				return conn, nil
			}
			all = errors.Join(all, err)
		}
	}
	return nil, fmt.Errorf("connect to syslog: %w", all)
}

// syslogLine returns a line in the format of syslog(3), as local daemons read it.
func syslogLine(now time.Time, text string) string {
	return fmt.Sprintf("<%d>%s %s[%d]: %s\n", syslogWarning, now.Format(time.Stamp), Identifier, os.Getpid(), text)
}

// connectSocket connects a unix socket of a kind, such as SOCK_DGRAM, to a path. A write to it blocks its goroutine only.
func connectSocket(kind int, path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connect %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

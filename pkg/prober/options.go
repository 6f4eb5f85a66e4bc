// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"time"

	"golang.org/x/sys/unix"
)

// option is one of the socket options that asking changes. The order is that in which they are restored.
type option int

const (
	keepalive   option = iota // SO_KEEPALIVE
	keepIdle                  // TCP_KEEPIDLE, seconds
	keepIntvl                 // TCP_KEEPINTVL, seconds
	keepCount                 // TCP_KEEPCNT
	userTimeout               // TCP_USER_TIMEOUT, milliseconds
	optionCount
)

// names are level and name as setsockopt(2) takes them.
func (o option) names() (level, name int) {
	switch o {
	case keepalive:
		return unix.SOL_SOCKET, unix.SO_KEEPALIVE
	case keepIdle:
		return unix.IPPROTO_TCP, unix.TCP_KEEPIDLE
	case keepIntvl:
		return unix.IPPROTO_TCP, unix.TCP_KEEPINTVL
	case keepCount:
		return unix.IPPROTO_TCP, unix.TCP_KEEPCNT
	default:
		return unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT
	}
}

// armingOrder sets TCP_KEEPIDLE last, with keepalive on: then the kernel counts the time for which the socket has
// been idle already, and the first probe leaves when all of TCP_KEEPIDLE has passed, with the interval and the count that
// are set by then.
func armingOrder() [optionCount]option {
	return [...]option{keepIntvl, keepCount, userTimeout, keepalive, keepIdle}
}

// The largest values that setsockopt(2) takes (include/net/tcp.h). Sysctls may be larger, and so what getsockopt(2)
// returns.
const (
	maxKeepSeconds = 32767 // MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL
	maxKeepCount   = 127   // MAX_TCP_KEEPCNT
)

// limit is the largest value that setsockopt takes for the option.
func (o option) limit() int32 {
	switch o {
	case keepIdle, keepIntvl:
		return maxKeepSeconds
	case keepCount:
		return maxKeepCount
	default:
		return 1<<31 - 1
	}
}

// values are the options of one socket.
type values [optionCount]int32

// The first probe leaves between firstProbeDelay and lastProbeDelay after arming.
const (
	firstProbeDelay = 500 * time.Millisecond
	lastProbeDelay  = firstProbeDelay + time.Second // TCP_KEEPIDLE has whole seconds
)

// armedValues are the values that ask a peer. The idle time is that of the kernel's keepalive timer: since the last
// segment with data or an acknowledgement came.
//
// Just above the idle time, TCP_KEEPIDLE makes the first probe leave when the duplicate has long been closed, and a living
// peer is not probed again until the same time has passed once more: not each second, should the socket never be
// restored.
func armedValues(count int, interval, idle time.Duration) values {
	return values{
		keepalive:   1,
		keepIdle:    seconds(idle + lastProbeDelay),
		keepIntvl:   seconds(interval),
		keepCount:   int32(min(max(count, 1), maxKeepCount)),
		userTimeout: 0, // it counts from before arming, so that one unanswered probe would end the socket
	}
}

// seconds returns whole seconds in the kernel's limits.
func seconds(d time.Duration) int32 {
	return int32(min(max(d/time.Second, 1), maxKeepSeconds))
}

// asksAlready reports whether the application's own keepalive asks more often than after the patience.
func (v *values) asksAlready(patience time.Duration) bool {
	return v[keepalive] != 0 && time.Duration(v[keepIdle])*time.Second < patience
}

// restoration returns the options to set, in the order of their numbers, of a socket that now has the values. An
// option that is neither as it was armed nor as it was saved has been changed by the application, and stays.
//
// The application's SO_KEEPALIVE 1 looks the same as ours, so keepalive stays on where the application has changed one
// of its times, or where those show that the socket was never armed.
func restoration(now, saved, armed *values) (set [optionCount]bool, value values) {
	value = *saved
	for o := range optionCount {
		value[o] = min(value[o], o.limit())
		set[o] = now[o] == armed[o] && now[o] != saved[o]
	}
	ours := now[keepIntvl] == armed[keepIntvl] && now[keepCount] == armed[keepCount] &&
		(now[keepIdle] == armed[keepIdle] || now[keepIdle] == saved[keepIdle])
	set[keepalive] = set[keepalive] && ours
	return set, value
}

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// option is one of the socket options that a question changes, in the order in which they are restored.
type option int

const (
	keepalive   option = iota // SO_KEEPALIVE
	keepIdle                  // TCP_KEEPIDLE, seconds
	keepIntvl                 // TCP_KEEPINTVL, seconds
	keepCount                 // TCP_KEEPCNT
	userTimeout               // TCP_USER_TIMEOUT, milliseconds
	optionCount
)

// names returns level and name for setsockopt(2).
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

// armingOrder has TCP_KEEPIDLE last, when keepalive is on. Then the kernel subtracts the time for which the socket has been
// idle, and sends the first probe at the end of TCP_KEEPIDLE, with the interval and the count set before.
func armingOrder() [optionCount]option {
	return [...]option{keepIntvl, keepCount, userTimeout, keepalive, keepIdle}
}

// The largest values that setsockopt(2) accepts (include/net/tcp.h). Sysctls, and so the results of getsockopt(2), may be
// larger.
const (
	maxKeepSeconds = 32767 // MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL
	maxKeepCount   = 127   // MAX_TCP_KEEPCNT
)

// limit returns the largest value that setsockopt accepts for the option.
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

// The kernel sends the first probe between firstProbeDelay and lastProbeDelay after arming.
const (
	firstProbeDelay = 500 * time.Millisecond
	lastProbeDelay  = firstProbeDelay + time.Second // TCP_KEEPIDLE has whole seconds
)

// armedValues returns the values of a question. The idle time is that of the kernel's keepalive timer: since the last segment
// with data or an acknowledgement.
//
// TCP_KEEPIDLE is just above the idle time, so that the first probe leaves long after the duplicate is closed. A peer that is
// alive is not probed again until the same time has passed: if the socket is never restored, that is not every second.
func armedValues(count int, interval, idle time.Duration) values {
	return values{
		keepalive:   1,
		keepIdle:    seconds(idle + lastProbeDelay),
		keepIntvl:   seconds(interval),
		keepCount:   int32(min(max(count, 1), maxKeepCount)),
		userTimeout: 0, // it counts from before arming: one unanswered probe would close the socket
	}
}

// seconds returns whole seconds within the kernel's limits.
func seconds(d time.Duration) int32 {
	return int32(min(max(d/time.Second, 1), maxKeepSeconds))
}

// asksAlready reports whether the application's own keepalive sends a probe before the patience ends.
func (v *values) asksAlready(patience time.Duration) bool {
	return v[keepalive] != 0 && time.Duration(v[keepIdle])*time.Second < patience
}

// restoration returns the options to set on a socket whose current values are now, and their values. An option with neither
// its armed nor its saved value was changed by the application, and is not set.
//
// An application's SO_KEEPALIVE 1 is the same as the armed one. So keepalive stays on if the application has changed one of
// the times, or if these show that the socket was never armed.
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

// setBack sets the options to restore of a socket whose current values are now. If SO_KEEPALIVE is refused, it sets no other one: only
// their armed values show that keepalive was not switched on by the application.
func setBack(now, saved, armed *values, set func(option, int32) error) error {
	chosen, value := restoration(now, saved, armed)
	var refused []error
	for o := range optionCount {
		if !chosen[o] {
			continue
		}
		err := set(o, value[o])
		if o == keepalive && err != nil {
			return err
		}
		refused = append(refused, err)
	}
	return errors.Join(refused...)
}

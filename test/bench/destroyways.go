// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
)

// leaked lists the leaked sockets of a namespace.
func leaked(t finder.Netns) ([]inetdiag.ID, error) {
	var ids []inetdiag.ID
	err := dump(t, inetdiag.Filter{States: 1 << inetdiag.CloseWait}, func(s *inetdiag.Socket) { ids = append(ids, s.ID) })
	if err == nil && len(ids) != leak().Closed {
		err = fmt.Errorf("%d sockets in CLOSE_WAIT, want %d", len(ids), leak().Closed)
	}
	return ids, err
}

// each measures the functions that prepare returns, which destroy the leaked sockets of a namespace each. All are prepared
// first, as the reaper has found all by then: the kernel's data of a socket is no longer in the CPU caches.
func each(way string, targets []finder.Netns, prepare func(t finder.Netns, ids []inetdiag.ID) (func() error, error)) ([]cost, error) {
	c := cost{way: way}
	var destroys []func() error
	for _, t := range targets {
		ids, err := leaked(t)
		if err != nil {
			return nil, err
		}
		destroy, err := prepare(t, ids)
		if err != nil {
			return nil, err
		}
		destroys = append(destroys, destroy)
		c.sockets += len(ids)
	}
	before := self()
	for _, destroy := range destroys {
		if err := destroy(); err != nil {
			return nil, fmt.Errorf("%s: %w", way, err)
		}
	}
	c.cpu = self() - before
	return []cost{c}, nil
}

func byKernel(_ context.Context, targets []finder.Netns) ([]cost, error) {
	return each(kernelName, targets, func(t finder.Netns, ids []inetdiag.ID) (func() error, error) {
		requests := prepare(ids)
		var fd int
		err := inside(t, func() (err error) {
			fd, err = openRaw()
			return err
		})
		return func() error {
			defer unix.Close(fd)
			return rawDestroy(fd, requests)
		}, err
	})
}

func byLibrary(_ context.Context, targets []finder.Netns) ([]cost, error) {
	return each(libraryName, targets, func(t finder.Netns, ids []inetdiag.ID) (func() error, error) {
		conn, err := open(t)
		return func() error {
			defer conn.Close()
			for start := 0; start < len(ids); start += destroyBatch {
				some := ids[start:min(start+destroyBatch, len(ids))]
				var failed error
				keep := func(err error) { failed = errors.Join(failed, err) }
				err := conn.LookupAll(some, func(_ int, _ *inetdiag.Socket, err error) { keep(err) })
				if err == nil {
					err = conn.DestroyAll(some, nil, func(_ int, err error) { keep(err) })
				}
				if err = errors.Join(err, failed); err != nil {
					return err
				}
			}
			return nil
		}, err
	})
}

func bySingle(_ context.Context, targets []finder.Netns) ([]cost, error) {
	return each(singleName, targets, func(t finder.Netns, ids []inetdiag.ID) (func() error, error) {
		conn, err := open(t)
		return func() error {
			defer conn.Close()
			for _, id := range ids {
				if err := conn.Destroy(id); err != nil {
					return err
				}
			}
			return nil
		}, err
	})
}

// bySSBulk destroys all half-closed sockets of a namespace with one ss, whatever their age.
func bySSBulk(ctx context.Context, targets []finder.Netns) ([]cost, error) {
	args := []string{"-c", `for ns; do nsenter --net="$ns" ss -KHtn state close-wait; done`, "sh"}
	for _, t := range targets {
		args = append(args, t.Paths[0])
	}
	n := len(targets) * leak().Closed
	cpu, err := ssDestroys(ctx, args, n)
	return []cost{{ssBulkName, n, cpu}}, err
}

// ssSample is the number of sockets that are destroyed with one ss each.
const ssSample = 200

// bySSSingle destroys one socket per ss, selected by its ports, like an operator who has found out which ones are too old.
func bySSSingle(ctx context.Context, targets []finder.Netns) ([]cost, error) {
	ids, err := leaked(targets[0])
	if err != nil {
		return nil, err
	}
	args := []string{"-c", `ns=$1; shift; for socket; do nsenter --net="$ns" ss -KHtn state close-wait $socket; done`, "sh", targets[0].Paths[0]}
	for _, id := range ids[:ssSample] {
		args = append(args, fmt.Sprintf("sport = :%d and dport = :%d", id.Local().Port(), id.Peer().Port()))
	}
	cpu, err := ssDestroys(ctx, args, ssSample)
	return []cost{{ssSingleName, ssSample, cpu}}, err
}

// ssDestroys runs a shell whose ss prints a line for each of n destroyed sockets.
func ssDestroys(ctx context.Context, args []string, n int) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Stderr = os.Stderr
	before := children()
	out, err := cmd.Output()
	cpu := children() - before
	if err != nil {
		return 0, fmt.Errorf("run ss -K: %w", err)
	}
	if got := bytes.Count(out, []byte("\n")); got != n {
		return 0, fmt.Errorf("ss -K destroyed %d sockets, want %d", got, n)
	}
	return cpu, nil
}

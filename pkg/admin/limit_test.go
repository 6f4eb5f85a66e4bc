// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/state"
)

// silentClients keeps that many connections to a unix socket open, without a request, until the test ends.
func silentClients(t *testing.T, path string, clients int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() { cancel(); all.Wait() })
	connect := func(connected func()) {
		for ctx.Err() == nil {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", path)
			if err != nil {
				continue
			}
			connected()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			_, _ = conn.Read(make([]byte, 1)) // until the reaper closes it
			stop()
			conn.Close()
		}
	}
	var open sync.WaitGroup
	open.Add(clients)
	for range clients {
		all.Go(func() { connect(sync.OnceFunc(open.Done)) })
	}
	open.Wait()
}

// TestSilentClientsLeaveDescriptorsForTheWork has a reaper with few file descriptors and many clients of its unix socket
// that send nothing. It still destroys, and warns.
func TestSilentClientsLeaveDescriptorsForTheWork(t *testing.T) {
	t.Parallel()
	for _, files := range []int{20, 24, 32} {
		t.Run(fmt.Sprintf("%d files", files), func(t *testing.T) {
			t.Parallel()
			var log outputtest.Buffer
			ns := nstest.New(t)
			n := processNode(t, &log, func(cmd *exec.Cmd) error {
				cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", envFiles, files))
				return cmd.Start()
			})
			silentClients(t, n.store.SocketPath(), 40)
			n.register(ns, state.Pod{Namespace: "shop", Name: "web"}, grace(time.Second, time.Hour))
			p := shut(t, ns)
			if err := p.Client.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Client.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("the socket is not destroyed: its peer gets %v\n%s", err, log.String())
			}
			nstest.Eventually(t, patience, "the reaper warns", func() bool { return strings.Contains(log.String(), "all connections are in use") })
			if text := log.String(); strings.Contains(text, "too many open files") {
				t.Errorf("the reaper ran out of file descriptors:\n%s", text)
			}
		})
	}
}

// TestABodyThatNeverComesEndsTheRequest sends the header of requests to the unix socket, and no body.
func TestABodyThatNeverComesEndsTheRequest(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	for _, request := range []string{"PUT /v1/mode", "PUT /v1/log-level", "POST /v1/handover", "GET /v1/status"} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "unix", n.store.SocketPath())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, request+" HTTP/1.1\r\nHost: reaper\r\nContent-Length: 100\r\n\r\n{"); err != nil {
				t.Fatal(err)
			}
			if answer, err := io.ReadAll(conn); err != nil {
				t.Errorf("the reaper keeps the connection open: %v, after %q", err, answer)
			}
		})
	}
}

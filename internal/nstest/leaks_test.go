// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package nstest

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/thread"
)

func TestALeakedGoroutineDescriptorOrThreadIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		leak       func(t *testing.T) (end func())
	}{
		{"nothing", "", func(*testing.T) func() { return func() {} }},
		{"a goroutine", "goroutine: ", func(*testing.T) func() {
			stop := make(chan struct{})
			go func() { <-stop }()
			return func() { close(stop) }
		}},
		{"a file", "descriptor: /dev/null", func(t *testing.T) func() {
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			return func() { f.Close() }
		}},
		{"a socket", "descriptor: socket", func(t *testing.T) func() {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			return func() { l.Close() }
		}},
		{"a namespace", "descriptor: net", func(t *testing.T) func() { return New(t).Close }},
		{"a thread in another namespace", "network namespace with a thread", func(t *testing.T) func() {
			entered, stop := make(chan error), make(chan struct{})
			go thread.Discard(func() {
				entered <- unix.Unshare(unix.CLONE_NEWNET)
				<-stop
			})
			if err := <-entered; err != nil {
				NeedPrivilege(t, "create a network namespace", err)
			}
			return func() { close(stop) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := resources()
			end := tt.leak(t)
			err := before.leaked(resources())
			end()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err := Retry(10*time.Second, func() error { return before.leaked(resources()) }); err != nil {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

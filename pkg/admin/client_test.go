// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// peer listens in place of a reaper, and calls do with each connection after it has read the request.
func peer(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "reaper.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				do(conn)
			}
			conn.Close()
		}
	}()
	return path
}

// says returns a function for peer that answers with text.
func says(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// checkAdvice checks that an error is one line that has the path of the socket and the wanted texts.
func checkAdvice(t *testing.T, err error, path string, wants ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	text := err.Error()
	if !strings.Contains(text, path) || strings.Contains(text, "\n") || strings.Contains(text, "http://") {
		t.Errorf("the error is %q", text)
	}
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("the error is %q, without %q", text, want)
		}
	}
}

func TestWithoutAReaperTheErrorNamesTheSocket(t *testing.T) {
	t.Parallel()
	left := filepath.Join(t.TempDir(), "left.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: left})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for name, path := range map[string]string{
		"there is no socket":       filepath.Join(t.TempDir(), "reaper.sock"),
		"there is no directory":    filepath.Join(t.TempDir(), "absent", "reaper.sock"),
		"a socket that was left":   left,
		"the directory is a file":  filepath.Join(left, "reaper.sock"),
		"a file that is no socket": file(t),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := admin.NewClient(path).Status(t.Context())
			checkAdvice(t, err, path, "no reaper is running: nothing listens on ")
			if !errors.Is(err, admin.ErrNotRunning) {
				t.Errorf("it is no ErrNotRunning: %v", err)
			}
		})
	}
}

func file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "reaper.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWithoutPermissionTheErrorNamesTheRemedy sends a request from a process without privileges.
func TestWithoutPermissionTheErrorNamesTheRemedy(t *testing.T) {
	if os.Getuid() != 0 {
		nstest.NeedPrivilege(t, "become another user", os.ErrPermission)
	}
	dir, err := os.MkdirTemp("", "halfclose-test-") // t.TempDir is in a directory that is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "reaper.sock")
	l, err := admin.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, mode := range map[string]os.FileMode{"a closed socket in an open directory": 0o755, "a closed directory": 0o700} {
		t.Run(name, func(t *testing.T) {
			if err := os.Chmod(dir, mode); err != nil {
				t.Fatal(err)
			}
			out, err := play(t, envClient, path).Output()
			if err == nil {
				t.Error("it is answered")
			}
			checkAdvice(t, errors.New(strings.TrimSpace(string(out))), path, "belongs to another user", "run this as root")
		})
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
}

func TestTheErrorOfAnUnreadableAnswerHasAdvice(t *testing.T) {
	t.Parallel()
	const (
		head  = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		lines = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
	)
	for name, tt := range map[string]struct {
		do   func(net.Conn)
		want string
	}{
		"a peer that does not speak HTTP":    {says("SSH-2.0-OpenSSH_9.2\r\n"), "does not answer like a reaper of this version"},
		"a peer that answers with a page":    {says("HTTP/1.1 200 OK\r\n\r\n<html>"), "does not answer like a reaper of this version"},
		"an answer of another type":          {says(head + "\r\n[1, 2]"), "does not answer like a reaper of this version"},
		"a value that is not known":          {says(head + "\r\n" + `{"mode": {"effective": "gentle"}}`), `"gentle"`},
		"no answer":                          {says(""), "exited before its answer was complete"},
		"an answer cut short in its head":    {says("HTTP/1.1 200 OK\r\nContent-Type: app"), "exited before its answer was complete"},
		"an answer cut short in its body":    {says(head + "Content-Length: 100\r\n\r\n{\"version\":"), "exited before its answer was complete"},
		"an answer cut short between chunks": {says(head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"ver\r\n"), "exited before its answer was complete"},
	} {
		t.Run(name, func(t *testing.T) {
			path := peer(t, tt.do)
			_, err := admin.NewClient(path).Status(t.Context())
			checkAdvice(t, err, path, tt.want)
		})
	}
	t.Run("a list of sockets cut short", func(t *testing.T) {
		path := peer(t, says(lines+"\r\n"+`{"local": "10.0.0.1:80"}`+"\n"+`{"loc`))
		_, err := admin.NewClient(path).Sockets(t.Context(), api.SocketQuery{})
		checkAdvice(t, err, path, "exited before its answer was complete")
	})
	t.Run("a list of sockets without its last line", func(t *testing.T) {
		path := peer(t, says(lines+"\r\n"+`{"local": "10.0.0.1:80"}`+"\n"))
		_, err := admin.NewClient(path).Sockets(t.Context(), api.SocketQuery{})
		checkAdvice(t, err, path, "exited before its answer was complete")
	})
	t.Run("a page of the history without its last line", func(t *testing.T) {
		path := peer(t, says(lines+"\r\n"+`{"seq": 7, "outcome": "destroyed"}`+"\n"))
		_, err := admin.NewClient(path).History(t.Context(), api.HistoryQuery{})
		checkAdvice(t, err, path, "exited before its answer was complete")
	})
	t.Run("a line that is no object", func(t *testing.T) {
		path := peer(t, says(lines+"\r\n"+`7`+"\n"))
		_, err := admin.NewClient(path).Sockets(t.Context(), api.SocketQuery{})
		checkAdvice(t, err, path, "does not answer like a reaper of this version")
	})
	t.Run("a list of sockets by a reaper of an older version", func(t *testing.T) {
		path := peer(t, says(head+"\r\n"+`{"sockets": [{"local": "10.0.0.1:80"}], "problems": []}`+"\n"))
		_, err := admin.NewClient(path).Sockets(t.Context(), api.SocketQuery{})
		checkAdvice(t, err, path, "restart a reaper of another version")
	})
	t.Run("a page of the history by a reaper of an older version", func(t *testing.T) {
		path := peer(t, says(head+"\r\n"+`{"history": "h", "entries": [{"seq": 7}], "last": 7}`+"\n"))
		_, err := admin.NewClient(path).History(t.Context(), api.HistoryQuery{})
		checkAdvice(t, err, path, "restart a reaper of another version")
	})
}

func TestAReaperThatDoesNotAnswerIsWaitedForAsLongAsAsked(t *testing.T) {
	t.Parallel()
	t.Run("not at all", func(t *testing.T) {
		gone := make(chan struct{})
		t.Cleanup(func() { close(gone) })
		path := peer(t, func(net.Conn) { <-gone })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := admin.NewClient(path).Status(ctx)
		checkAdvice(t, err, path, "does not answer", "restart it")
	})
	t.Run("not to the end", func(t *testing.T) {
		gone := make(chan struct{})
		t.Cleanup(func() { close(gone) })
		path := peer(t, func(c net.Conn) {
			says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")(c)
			<-gone
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := admin.NewClient(path).Sockets(ctx, api.SocketQuery{})
		checkAdvice(t, err, path, "does not answer", "restart it")
	})
	t.Run("until the client gives up", func(t *testing.T) {
		gone := make(chan struct{})
		t.Cleanup(func() { close(gone) })
		ctx, cancel := context.WithCancel(t.Context())
		path := peer(t, func(net.Conn) { cancel(); <-gone })
		if _, err := admin.NewClient(path).Status(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	})
}

// TestEveryRequestToASilentReaperFailsWithin5s asks a reaper that accepts connections and sends nothing.
func TestEveryRequestToASilentReaperFailsWithin5s(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "reaper.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	client := admin.NewClient(path)
	for name, request := range map[string]func(context.Context) error{
		"status":  func(ctx context.Context) error { _, err := client.Status(ctx); return err },
		"health":  func(ctx context.Context) error { _, err := client.Health(ctx); return err },
		"live":    func(ctx context.Context) error { _, err := client.Live(ctx); return err },
		"history": func(ctx context.Context) error { _, err := client.History(ctx, api.HistoryQuery{}); return err },
		"sockets": func(ctx context.Context) error { _, err := client.Sockets(ctx, api.SocketQuery{}); return err },
		"mode": func(ctx context.Context) error {
			_, err := client.SetMode(ctx, api.ModeRequest{Mode: policy.Observe})
			return err
		},
		"handover": client.HandOver,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // on a busy machine
			defer cancel()
			err := request(ctx)
			if !errors.Is(err, admin.ErrNoAnswer) || ctx.Err() != nil {
				t.Errorf("the error is %v", err)
			}
			checkAdvice(t, err, path, fmt.Sprintf("the reaper (pid %d, on ", os.Getpid()), "does not answer within 5s")
		})
	}
}

func TestTheClientReturnsTheErrorOfTheReaper(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if _, err := n.SetMode(t.Context(), api.ModeRequest{Mode: policy.Off, Who: "the test"}); err == nil || !strings.HasPrefix(err.Error(), "the reaper returned an error: ") || !strings.Contains(err.Error(), "--mode off") { // prose:ok: the beginning of an error text that users see
		t.Errorf("the error is %v", err)
	}
	path := peer(t, says("HTTP/1.1 503 Service Unavailable\r\n\r\nwhatever"))
	if _, err := admin.NewClient(path).Status(t.Context()); err == nil || err.Error() != "the reaper returned an error: 503 Service Unavailable" {
		t.Errorf("the error is %v", err)
	}
}

// TestEveryFilterSelectsItsSockets asks a real reaper.
func TestEveryFilterSelectsItsSockets(t *testing.T) {
	t.Parallel()
	shop, bill, strange := nstest.New(t), nstest.New(t), nstest.New(t)
	n := newNode(t)
	in := map[string]nstest.Pair{"shop": shut(t, shop), "bill": shut(t, bill), "strange": shut(t, strange)}
	n.register(shop, state.Pod{Namespace: "shop", Name: "web"}, grace(time.Hour, never))
	n.register(bill, state.Pod{Namespace: "bill", Name: "db"}, grace(time.Hour, never))
	n.awaitSockets("CLOSE_WAIT", 2)
	n.awaitSockets("FIN_WAIT2", 2)
	for name, tt := range map[string]struct {
		query api.SocketQuery
		want  []string // pod namespace and state
	}{
		"everything":                {api.SocketQuery{}, []string{"bill CLOSE_WAIT", "bill FIN_WAIT2", "shop CLOSE_WAIT", "shop FIN_WAIT2"}},
		"a pod":                     {api.SocketQuery{PodQuery: api.PodQuery{Pod: "shop/web"}}, []string{"shop CLOSE_WAIT", "shop FIN_WAIT2"}},
		"a state":                   {api.SocketQuery{State: inetdiag.CloseWait}, []string{"bill CLOSE_WAIT", "shop CLOSE_WAIT"}},
		"a verdict":                 {api.SocketQuery{Verdict: new(policy.GraceNever)}, []string{"bill FIN_WAIT2", "shop FIN_WAIT2"}},
		"a verdict without sockets": {api.SocketQuery{Verdict: new(policy.Unknown)}, nil},
		"all of them":               {api.SocketQuery{PodQuery: api.PodQuery{Pod: "db"}, Verdict: new(policy.WithinGrace), State: inetdiag.CloseWait}, []string{"bill CLOSE_WAIT"}},
		"an unknown pod":            {api.SocketQuery{PodQuery: api.PodQuery{Pod: "no-such"}}, nil},
		"a dump of all":             {api.SocketQuery{All: true, PodQuery: api.PodQuery{Pod: "web"}}, []string{"shop CLOSE_WAIT", "shop FIN_WAIT2"}},
		"a namespace":               {api.SocketQuery{Netns: strange.Path()}, []string{" CLOSE_WAIT", " FIN_WAIT2"}},
	} {
		for _, owned := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				tt.query.Owners = owned
				list, err := n.Sockets(t.Context(), tt.query)
				if err != nil || len(list.Problems) > 0 {
					t.Fatalf("%v %v", err, list.Problems)
				}
				var got []string
				for _, v := range list.Sockets {
					if owned != (len(v.Owners) == 1 && v.Owners[0].PID == os.Getpid()) {
						t.Errorf("the owners of %s are %v", v.Local, v.Owners)
					}
					got = append(got, v.Pod.Namespace+" "+v.State.String())
				}
				if diff := cmp.Diff(sortedByPod(tt.want), sortedByPod(got)); diff != "" {
					t.Errorf("sockets (-want +got)\n%s", diff)
				}
			})
		}
	}
	for _, p := range in {
		if _, err := p.Server.Write([]byte("x")); err != nil {
			t.Errorf("a socket does not live: %v", err)
		}
	}
}

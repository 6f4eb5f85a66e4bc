// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/metrics"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/reaper"
	"github.com/halfclose/halfclose/pkg/state"
)

// patience bounds a wait for an event that must happen, even on a busy machine.
const patience = 30 * time.Second

// node is a reaper with a state directory of its own, which serves its unix socket and a TCP address.
type node struct {
	*admin.Client
	tb       testing.TB
	store    *state.Store
	sw       string // the switch's file
	server   *admin.Server
	scrape   *admin.Scrape
	unix     *http.Client
	tcp      string        // host and port
	handOver chan struct{} // closed when the reaper is asked to hand over
	end      func()        // stops the reaper, but not its servers
}

// newNode starts a reaper that stops with the test.
func newNode(tb testing.TB, change ...func(*reaper.Config)) *node {
	tb.Helper()
	n := unservedNode(tb, change...)
	n.serve()
	nstest.Eventually(tb, patience, "the reaper is ready", func() bool { return n.get("/livez").code == http.StatusOK })
	return n
}

// unservedNode returns a node whose servers do not run yet.
func unservedNode(tb testing.TB, change ...func(*reaper.Config)) *node {
	tb.Helper()
	log := slog.New(slog.NewTextHandler(tb.Output(), nil))
	root, err := netns.NewRoot("")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { root.Close() })
	n := &node{tb: tb, store: state.New(tb.TempDir()), handOver: make(chan struct{}), scrape: admin.NewScrape(log)}
	n.sw = filepath.Join(n.store.Dir(), "mode")
	cfg := reaper.Config{
		Store: n.store, Root: root, HistoryDir: filepath.Join(n.store.Dir(), "history"), SwitchPath: n.sw, Finder: finder.NewSockDiag(finder.Config{Root: root, Clock: monotime.Fake{}, CPUBudget: 1}), Clock: monotime.Fake{}, Mode: policy.Destroy,
		Owners: owners.NewProc("/proc"), Kernel: func() error { return nil }, Log: log,
	}
	for _, c := range change {
		c(&cfg)
	}
	r, err := reaper.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	n.server = &admin.Server{
		Reaper: r, Log: log,
		Metrics:  metrics.NewExporter(r, buildinfo.Get()).Text,
		HandOver: func() { close(n.handOver) },
		Holder:   api.Holder{PID: os.Getpid(), StartedBy: api.ByPlugin, Since: time.Now().UTC(), Version: "v0"},
	}
	n.scrape.SetServer(n.server)
	n.end = n.start("the reaper", r.Run)
	return n
}

// serve starts the servers.
func (n *node) serve() {
	n.tb.Helper()
	path := n.store.SocketPath()
	l, err := net.Listen("unix", path) // admin.Listen sets the umask, which is the process's
	if err != nil {
		n.tb.Fatal(err)
	}
	n.start("the unix socket's server", func(ctx context.Context) error { return n.server.Serve(ctx, l) })
	t, err := admin.ListenTCP(n.tb.Context(), "127.0.0.1:0")
	if err != nil {
		n.tb.Fatal(err)
	}
	n.tcp = t.Addr().String()
	n.start("the scrape's server", func(ctx context.Context) error { return n.scrape.Serve(ctx, t) })
	n.Client, n.unix = admin.NewClient(path), over(path)
}

// over returns a client of a unix socket.
func over(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}
}

// start calls run until the test ends, or end is called.
func (n *node) start(what string, run func(context.Context) error) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			n.tb.Errorf("%s returned %v", what, err)
		}
	}()
	end = func() { cancel(); <-ended }
	n.tb.Cleanup(end)
	return end
}

// answer is the answer to a request.
type answer struct {
	code   int
	header http.Header
	body   string
}

// get requests a path on the unix socket.
func (n *node) get(path string) answer {
	n.tb.Helper()
	return n.do(n.unix, http.MethodGet, "http://reaper"+path, "")
}

// getTCP requests a path over TCP.
func (n *node) getTCP(path string) answer {
	n.tb.Helper()
	return n.do(http.DefaultClient, http.MethodGet, "http://"+n.tcp+path, "")
}

func (n *node) do(client *http.Client, method, url, body string) answer {
	n.tb.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		n.tb.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		n.tb.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		n.tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// grace returns a policy with these graces.
func grace(closeWait, finWait2 time.Duration, change ...func(*policy.Policy)) policy.Policy {
	p := policy.Default()
	p.CloseWaitGrace, p.FinWait2Grace = policy.Patience(closeWait), policy.Patience(finWait2)
	for _, c := range change {
		c(&p)
	}
	return p
}

const never = time.Duration(policy.Never)

// register records an attachment of the namespace, as ADD does, for a pod or for none.
func (n *node) register(ns *nstest.NS, pod state.Pod, p policy.Policy, change ...func(*state.Record)) {
	n.tb.Helper()
	rec := testnode.NewRecord(n.tb, ns.Path(), fmt.Sprintf("c%d", ns.FD()), policy.Layers{Network: p.Layer(policy.SourceNetwork)})
	rec.Pod = pod
	for _, c := range change {
		c(&rec)
	}
	if err := n.store.Put(rec); err != nil {
		n.tb.Fatal(err)
	}
}

// shut makes a connection in the namespace whose server's end is in CLOSE_WAIT, and whose client's in FIN_WAIT2.
func shut(tb testing.TB, ns *nstest.NS) nstest.Pair {
	tb.Helper()
	p := ns.Connect(tb, nstest.IPv4)
	if err := p.Client.CloseWrite(); err != nil {
		tb.Fatal(err)
	}
	return p
}

// stuckNode returns a node whose reaper hangs at its start.
func stuckNode(tb testing.TB) *node {
	tb.Helper()
	stuck := make(chan struct{})
	n := unservedNode(tb, func(c *reaper.Config) {
		c.Kernel = func() error { <-stuck; return nil }
	})
	tb.Cleanup(func() { close(stuck) }) // before the reaper is stopped
	n.serve()
	return n
}

// sortedByPod returns a sorted copy.
func sortedByPod(list []string) []string { return slices.Sorted(slices.Values(list)) }

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"encoding/json"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/nstest"
)

// The files of testdata are answers of a real kernel, captured by
//
//	go test -run TestRewriteTestdata ./pkg/inetdiag -capture
//
// NAME.bin is a datagram of a little-endian machine, NAME.json has its sockets.
var capture = flag.Bool("capture", false, "rewrite testdata with answers of this kernel")

// golden is a Socket with its ID as text.
type golden struct {
	ID string // instead of Socket.ID
	Socket
}

func TestCapturedAnswersAreReadAsRecorded(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bin")
	if err != nil || len(files) == 0 {
		t.Fatalf("find captured answers: %d, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			if !littleEndian() {
				t.Skip("captured on a little-endian machine")
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(strings.TrimSuffix(name, ".bin") + ".json")
			if err != nil {
				t.Fatal(err)
			}
			got, err := readAll(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(text), toJSON(t, got)); diff != "" {
				t.Errorf("sockets (-want +got):\n%s", diff)
			}
		})
	}
}

func readAll(b []byte) ([]golden, error) {
	var all []golden
	for len(b) > 0 {
		m, rest, err := parseMessage(b)
		if err != nil {
			return nil, err
		}
		b = rest
		if m.typ != typeLegacy && m.typ != typeByFamily {
			continue
		}
		var g golden
		if err := parseSocket(m.data, &g.Socket); err != nil {
			return nil, err
		}
		g.ID = g.Socket.ID.String()
		all = append(all, g)
	}
	return all, nil
}

func toJSON(t *testing.T, all []golden) string {
	t.Helper()
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(all); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func littleEndian() bool { return attr(1)[0] != 0 }

// recorder keeps the received datagrams.
type recorder struct {
	transport
	got [][]byte
}

func (r *recorder) receive(b []byte) (int, error) {
	n, err := r.transport.receive(b)
	if err == nil {
		r.got = append(r.got, append([]byte(nil), b[:n]...))
	}
	return n, err
}

func TestRewriteTestdata(t *testing.T) {
	if !*capture {
		t.Skip("testdata is written only with -capture")
	}
	for name, prepare := range map[string]func(t *testing.T, ns *nstest.NS) (find func(*Socket) bool){
		"ipv4":      func(t *testing.T, ns *nstest.NS) func(*Socket) bool { return halfClosedPair(t, ns, nstest.IPv4) },
		"ipv6":      func(t *testing.T, ns *nstest.NS) func(*Socket) bool { return halfClosedPair(t, ns, nstest.IPv6) },
		"mapped":    func(t *testing.T, ns *nstest.NS) func(*Socket) bool { return halfClosedPair(t, ns, nstest.Mapped) },
		"orphan":    orphan,
		"unread":    unread,
		"mptcp":     mptcp,
		"listening": listening,
	} {
		ns := nstest.New(t)
		find := prepare(t, ns)
		c, _ := openWithSocket(t, ns)
		var ids []ID
		nstest.Eventually(t, 10*time.Second, "sockets for "+name, func() bool {
			ids = ids[:0]
			if err := c.Dump(Filter{States: AllStates}, func(s *Socket) error {
				if find(s) {
					ids = append(ids, s.ID)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return len(ids) > 0
		})
		r := &recorder{transport: c.t}
		c.t = r
		if _, err := c.Lookup(ids[0]); err != nil {
			t.Fatal(err)
		}
		write(t, name+"-lookup", r.got[0])
		r.got = nil
		if err := c.Dump(Filter{States: AllStates, Info: true}, func(*Socket) error { return nil }); err != nil {
			t.Fatal(err)
		}
		write(t, name+"-dump", r.got[0])
	}
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	all, err := readAll(b)
	if err != nil {
		t.Fatal(err)
	}
	for ext, content := range map[string][]byte{".bin": b, ".json": []byte(toJSON(t, all))} {
		if err := os.WriteFile(filepath.Join("testdata", name+ext), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func halfClosedPair(t *testing.T, ns *nstest.NS, network string) func(*Socket) bool {
	if err := ns.Connect(t, network).Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return func(s *Socket) bool { return s.State == CloseWait }
}

func orphan(t *testing.T, ns *nstest.NS) func(*Socket) bool {
	if err := ns.Connect(t, nstest.IPv4).Client.Close(); err != nil {
		t.Fatal(err)
	}
	return func(s *Socket) bool { return s.State == FinWait2 && s.Inode == 0 }
}

func unread(t *testing.T, ns *nstest.NS) func(*Socket) bool {
	p := ns.Connect(t, nstest.IPv6)
	if _, err := p.Server.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := p.Client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	return func(s *Socket) bool { return s.State == FinWait2 && s.RQueue == 1000 }
}

func listening(t *testing.T, ns *nstest.NS) func(*Socket) bool {
	ns.Listen(t, nstest.Mapped)
	return func(s *Socket) bool { return s.State == Listen }
}

func mptcp(t *testing.T, ns *nstest.NS) func(*Socket) bool {
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	d := net.Dialer{KeepAlive: -1}
	d.SetMultipathTCP(true)
	ns.Do(t, func() {
		l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
		conn, err := d.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { conn.Close() })
	})
	return func(s *Socket) bool { return s.State == Established }
}

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// refusing passes requests to the kernel, except for the legacy dump, which it refuses.
type refusing struct {
	transport
	how     unix.Errno
	typ     uint16 // NLMSG_ERROR or NLMSG_DONE
	refused int
	queue   []byte
}

func (r *refusing) send(b []byte) error {
	if m, _, err := parseMessage(b); err == nil && m.typ == typeLegacy {
		r.refused++
		r.queue = errnoMessage(r.typ, m.seq, r.how)
		return nil
	}
	return r.transport.send(b)
}

func (r *refusing) receive(b []byte) (int, error) {
	if len(r.queue) == 0 {
		return r.transport.receive(b)
	}
	n := copy(b, r.queue)
	r.queue = nil
	return n, nil
}

func TestDumpByFamilyReplacesARefusedLegacyDump(t *testing.T) {
	ns := nstest.New(t)
	for _, network := range nstest.Networks {
		ns.Connect(t, network)
	}
	for _, typ := range []uint16{unix.NLMSG_ERROR, unix.NLMSG_DONE} {
		for _, errno := range []unix.Errno{unix.ENOENT, unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT} {
			var (
				c   *Conn
				err error
			)
			ns.Do(t, func() { c, err = Open() })
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r := &refusing{transport: c.t, how: errno, typ: typ}
			c.t = r
			for range 3 {
				if got, err := cookies(t, c, Filter{States: AllStates}); err != nil || len(got) != 6 {
					t.Errorf("refused with %v: %d sockets, %v; want 6", errno, len(got), err)
				}
			}
			if r.refused != 1 {
				t.Errorf("refused with %v: %d legacy dumps, want one per conn", errno, r.refused)
			}
		}
	}
}

// byFamily answers dumps of one family and refuses the legacy dump.
func byFamily(v4, v6 func(seq uint32) [][]byte) func(m message) [][]byte {
	return func(m message) [][]byte {
		switch {
		case m.typ == typeLegacy:
			return [][]byte{errnoMessage(unix.NLMSG_ERROR, m.seq, unix.EINVAL)}
		case m.data[0] == unix.AF_INET:
			return v4(m.seq)
		}
		return v6(m.seq)
	}
}

func answers(typ uint16, errno unix.Errno, ids ...ID) func(uint32) [][]byte {
	return func(seq uint32) [][]byte {
		var out [][]byte
		for _, id := range ids {
			out = append(out, socketMessage(typeByFamily, seq, id, CloseWait))
		}
		return append(out, errnoMessage(typ, seq, errno))
	}
}

func TestAKernelWithoutTCPDiagIsNotAKernelWithoutTheSocket(t *testing.T) {
	no := func(errno unix.Errno) *Conn {
		return &Conn{t: &script{answer: func(m message) [][]byte { return answers(unix.NLMSG_ERROR, errno)(m.seq) }}}
	}
	err := no(unix.ENOENT).CheckTCP()
	if !errors.Is(err, ErrNoTCP) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrGone) {
		t.Errorf("without tcp_diag: %v, want ErrNoTCP, which is no ENOENT", err)
	}
	if err := no(unix.EPERM).CheckTCP(); !errors.Is(err, unix.EPERM) || errors.Is(err, ErrNoTCP) {
		t.Errorf("refused: %v, want EPERM", err)
	}
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 { // the conn stays usable
		if err := c.CheckTCP(); err != nil {
			t.Errorf("on this kernel: %v", err)
		}
	}
}

func TestDumpOfScriptedAnswers(t *testing.T) {
	four, six := testID(unix.AF_INET, 4), testID(unix.AF_INET6, 6)
	sixAgain := testID(unix.AF_INET6, 4) // the cookie of an AF_INET socket
	done := func(ids ...ID) func(uint32) [][]byte { return answers(unix.NLMSG_DONE, 0, ids...) }
	fails := func(errno unix.Errno) func(uint32) [][]byte { return answers(unix.NLMSG_ERROR, errno) }
	legacy := func(answer func(uint32) [][]byte) func(message) [][]byte {
		return func(m message) [][]byte { return answer(m.seq) }
	}
	for _, tt := range []struct {
		name   string
		filter Filter
		answer func(message) [][]byte
		want   []uint64
		err    error
		advice string
	}{
		{name: "both families", answer: byFamily(done(four), done(six)), want: []uint64{4, 6}},
		{name: "a socket in both walks counts once", answer: byFamily(done(four), done(sixAgain, six)), want: []uint64{4, 6}},
		{name: "a socket twice in one walk counts once", answer: legacy(done(four, six, four)), want: []uint64{4, 6}},
		{name: "a kernel without IPv6", answer: byFamily(done(four), fails(unix.ENOENT)), want: []uint64{4}},
		{
			name: "IPv6 alone, without IPv6 in the kernel", filter: Filter{Family: unix.AF_INET6},
			answer: byFamily(done(four), fails(unix.ENOENT)), err: ErrNoTCP,
		},
		{
			name: "a kernel without tcp_diag", answer: byFamily(fails(unix.ENOENT), fails(unix.ENOENT)),
			err: ErrNoTCP, advice: "CONFIG_INET_TCP_DIAG",
		},
		{name: "another refusal is final", answer: legacy(fails(unix.EPERM)), err: unix.EPERM},
		{
			name: "a failure after the first answer is final", want: []uint64{4},
			answer: legacy(answers(unix.NLMSG_DONE, unix.EINVAL, four)), err: unix.EINVAL,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &Conn{t: &script{answer: tt.answer}}
			tt.filter.States = HalfClosed
			for range 2 { // the conn stays usable
				got, err := cookies(t, c, tt.filter)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("cookies (-want +got):\n%s", diff)
				}
				switch {
				case tt.err == nil && err != nil:
					t.Error(err)
				case tt.err != nil && (!errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.advice)):
					t.Errorf("got %v, want %v and %q", err, tt.err, tt.advice)
				}
			}
		})
	}
}

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/inetdiag"
)

func TestAnIDReturnsItsParts(t *testing.T) {
	const cookie = 0x1122334455667788
	for _, tt := range []struct {
		name        string
		family      uint8
		local, peer string
		want        [2]string // of Local and Peer
		mapped      bool
		text        string
	}{
		{
			"IPv4", unix.AF_INET, "192.0.2.1:80", "192.0.2.2:65535",
			[2]string{"192.0.2.1:80", "192.0.2.2:65535"},
			false,
			"ipv4 192.0.2.1:80 -> 192.0.2.2:65535 interface 3 cookie 0x1122334455667788",
		},
		{
			"IPv6", unix.AF_INET6, "[2001:db8::1]:80", "[2001:db8::2]:50000",
			[2]string{"[2001:db8::1]:80", "[2001:db8::2]:50000"},
			false,
			"ipv6 [2001:db8::1]:80 -> [2001:db8::2]:50000 interface 3 cookie 0x1122334455667788",
		},
		{
			"IPv4 in an AF_INET6 socket", unix.AF_INET6, "192.0.2.1:80", "192.0.2.2:50000",
			[2]string{"192.0.2.1:80", "192.0.2.2:50000"},
			true,
			"v4-mapped 192.0.2.1:80 -> 192.0.2.2:50000 interface 3 cookie 0x1122334455667788",
		},
		{
			"mapped addresses", unix.AF_INET6, "[::ffff:192.0.2.1]:80", "[::ffff:192.0.2.2]:50000",
			[2]string{"192.0.2.1:80", "192.0.2.2:50000"},
			true,
			"v4-mapped 192.0.2.1:80 -> 192.0.2.2:50000 interface 3 cookie 0x1122334455667788",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := inetdiag.NewID(tt.family, netip.MustParseAddrPort(tt.local), netip.MustParseAddrPort(tt.peer), 3, cookie)
			if got := [2]string{id.Local().String(), id.Peer().String()}; got != tt.want {
				t.Errorf("addresses are %v, want %v", got, tt.want)
			}
			if id.Family() != tt.family || id.Mapped() != tt.mapped || id.Interface() != 3 || id.Cookie() != cookie {
				t.Errorf("family %d, mapped %v, interface %d, cookie %#x", id.Family(), id.Mapped(), id.Interface(), id.Cookie())
			}
			if got := id.String(); got != tt.text {
				t.Errorf("text is %q, want %q", got, tt.text)
			}
			raw, err := id.AppendBinary([]byte("before"))
			if err != nil || len(raw) != len("before")+inetdiag.SizeofID {
				t.Fatalf("as bytes: %d, %v", len(raw), err)
			}
			var again inetdiag.ID
			if err := again.UnmarshalBinary(raw[len("before"):]); err != nil || again != id {
				t.Errorf("from bytes: %v, %v; want %v", again, err, id)
			}
		})
	}
}

func TestAnIPv6AddressWithAFINETIsTheZeroID(t *testing.T) {
	four, six := netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("[2001:db8::1]:80")
	for _, id := range []inetdiag.ID{
		inetdiag.NewID(unix.AF_INET, six, four, 0, 1), inetdiag.NewID(unix.AF_INET, four, six, 0, 1),
	} {
		if id != (inetdiag.ID{}) {
			t.Errorf("got %v", id)
		}
	}
}

func TestUnmarshalBinaryRefusesBytesOfNoID(t *testing.T) {
	good, _ := inetdiag.NewID(unix.AF_INET, netip.AddrPort{}, netip.AddrPort{}, 0, 1).AppendBinary(nil)
	alien := append([]byte{unix.AF_UNIX}, good[1:]...)
	for name, b := range map[string][]byte{
		"none": nil, "short": good[1:], "long": append(good, 0), "family": alien,
	} {
		id := inetdiag.NewID(unix.AF_INET6, netip.AddrPort{}, netip.AddrPort{}, 0, 7)
		before := id
		if err := id.UnmarshalBinary(b); err == nil || id != before {
			t.Errorf("%s: %v, id became %v", name, err, id)
		}
	}
}

func TestTheZeroIDIsNoSocket(t *testing.T) {
	var id inetdiag.ID
	if got := id.String(); got != "no socket" || id.Cookie() != 0 || id.Mapped() {
		t.Errorf("zero ID is %q, cookie %d, mapped %v", got, id.Cookie(), id.Mapped())
	}
}

func TestStatesAreNumberedAndNamedAsInTheKernel(t *testing.T) {
	want := map[inetdiag.State]string{
		unix.BPF_TCP_ESTABLISHED:  "ESTABLISHED",
		unix.BPF_TCP_SYN_SENT:     "SYN_SENT",
		unix.BPF_TCP_SYN_RECV:     "SYN_RECV",
		unix.BPF_TCP_FIN_WAIT1:    "FIN_WAIT1",
		unix.BPF_TCP_FIN_WAIT2:    "FIN_WAIT2",
		unix.BPF_TCP_TIME_WAIT:    "TIME_WAIT",
		unix.BPF_TCP_CLOSE:        "CLOSE",
		unix.BPF_TCP_CLOSE_WAIT:   "CLOSE_WAIT",
		unix.BPF_TCP_LAST_ACK:     "LAST_ACK",
		unix.BPF_TCP_LISTEN:       "LISTEN",
		unix.BPF_TCP_CLOSING:      "CLOSING",
		unix.BPF_TCP_NEW_SYN_RECV: "NEW_SYN_RECV",
		13:                        "BOUND_INACTIVE",
	}
	got := make(map[inetdiag.State]string)
	for s := range inetdiag.State(32) {
		if inetdiag.AllStates&(1<<s) != 0 {
			got[s] = s.String()
			var again inetdiag.State
			if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
				t.Errorf("%v reads as %v, %v", s, again, err)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestStateNamesAreReadAsAnyToolWritesThem(t *testing.T) {
	for text, want := range map[string]inetdiag.State{
		"close-wait": inetdiag.CloseWait, "FIN_WAIT2": inetdiag.FinWait2, "FIN-WAIT-2": inetdiag.FinWait2, "Listen": inetdiag.Listen,
	} {
		var got inetdiag.State
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q reads as %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "CLOSED_WAIT", "state 0"} {
		var got inetdiag.State
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q reads as %v, want an error", text, got)
		}
	}
	if got := inetdiag.State(99).String(); got != "state 99" {
		t.Errorf("an unknown state is %q", got)
	}
}

func TestParseStateAcceptsAndListsTheAcceptedStatesOnly(t *testing.T) {
	if got, err := inetdiag.ParseState("fin_wait2", inetdiag.HalfClosed); err != nil || got != inetdiag.FinWait2 {
		t.Errorf("got %v, %v", got, err)
	}
	_, err := inetdiag.ParseState("ESTABLISHED", inetdiag.HalfClosed)
	if want := `unknown TCP state "ESTABLISHED": want one of FIN_WAIT2, CLOSE_WAIT`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestHalfClosedMeansCloseWaitAndFinWait2(t *testing.T) {
	for s := range inetdiag.State(40) {
		want := s == inetdiag.CloseWait || s == inetdiag.FinWait2
		inSet := inetdiag.HalfClosed&(1<<s) != 0
		if s.HalfClosed() != want || inSet != want {
			t.Errorf("%v: HalfClosed() is %v, in the set HalfClosed: %v, want %v", s, s.HalfClosed(), inSet, want)
		}
	}
}

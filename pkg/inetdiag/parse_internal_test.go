// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// kernelTCPInfo returns a struct tcp_info with a value of its own in each field that is read.
func kernelTCPInfo() []byte {
	k := unix.TCPInfo{
		State: uint8(CloseWait), Probes: 3, Last_data_recv: 52, Last_ack_recv: 56, Bytes_acked: 1 << 40, Bytes_received: 1 << 41,
		Segs_out: 136, Segs_in: 140,
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&k)), unsafe.Sizeof(k))
}

func TestTCPInfoIsReadWhereTheKernelPutsIt(t *testing.T) {
	want := TCPInfo{
		State: CloseWait, Probes: 3, LastDataRecv: 52 * time.Millisecond, LastAckRecv: 56 * time.Millisecond,
		BytesAcked: 1 << 40, BytesReceived: 1 << 41, SegsOut: 136, SegsIn: 140,
	}
	var got TCPInfo
	parseTCPInfo(kernelTCPInfo(), &got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tcp_info (-want +got):\n%s", diff)
	}
	for i := range reflect.ValueOf(got).NumField() {
		if reflect.ValueOf(got).Field(i).IsZero() {
			t.Errorf("the test has no value for %s", reflect.TypeFor[TCPInfo]().Field(i).Name)
		}
	}
}

// TestTCPInfoOfAnyLengthIsRead covers older kernels, whose struct is shorter, and newer ones.
func TestTCPInfoOfAnyLengthIsRead(t *testing.T) {
	raw := kernelTCPInfo()
	var whole TCPInfo
	parseTCPInfo(raw, &whole)
	for n := range len(raw) + 100 {
		b := append(append([]byte(nil), raw...), make([]byte, 100)...)[:n:n]
		got := TCPInfo{SegsIn: 12345} // of another socket
		parseTCPInfo(b, &got)
		switch {
		case n >= 144 && got != whole: // Linux 4.2 has 144 bytes or more
			t.Errorf("%d bytes: %+v, want %+v", n, got, whole)
		case n < 141 && got.SegsIn != 0:
			t.Errorf("%d bytes: segments received is %d", n, got.SegsIn)
		case n >= 136 && got.BytesReceived != whole.BytesReceived, n < 129 && got.BytesReceived != 0:
			t.Errorf("%d bytes: bytes received is %d", n, got.BytesReceived)
		case n >= 60 && got.LastAckRecv != whole.LastAckRecv, n < 57 && got.LastAckRecv != 0:
			t.Errorf("%d bytes: last ack is %v ago", n, got.LastAckRecv)
		}
	}
}

// attr is a struct nlattr with its padding.
func attr(typ uint16, data ...byte) []byte {
	n := unix.SizeofNlAttr + len(data)
	b := make([]byte, align4(n))
	*(*uint16)(unsafe.Pointer(&b[0])) = uint16(n)
	*(*uint16)(unsafe.Pointer(&b[2])) = typ
	copy(b[unix.SizeofNlAttr:], data)
	return b
}

func TestKnownAttributesAreReadAndOthersSkipped(t *testing.T) {
	id := testID(unix.AF_INET6, 9)
	base := socketMessage(typeByFamily, 1, id, CloseWait)[sizeofHeader:]
	plain := Socket{ID: id, State: CloseWait}
	with := func(edit func(*Socket)) Socket { s := plain; edit(&s); return s }
	ulp := func(name string) []byte {
		return attr(attrULP|unix.NLA_F_NESTED, append(attr(77, 1, 2, 3), attr(attrULPName, []byte(name)...)...)...)
	}
	for _, tt := range []struct {
		name  string
		attrs []byte
		want  Socket
		err   string
	}{
		{name: "none", want: plain},
		{name: "unknown ones", attrs: append(attr(200, 1), attr(201)...), want: plain},
		{
			name: "a class behind a padded one", attrs: append(attr(200, 1, 2, 3), attr(attrClassID, 7, 7, 7, 7)...),
			want: with(func(s *Socket) { s.ClassID = 0x07070707 }),
		},
		{name: "an empty class and an empty tcp_info", attrs: append(attr(attrClassID), attr(attrInfo)...), want: plain},
		{
			name: "tcp_info of one byte", attrs: attr(attrInfo, byte(CloseWait)),
			want: with(func(s *Socket) { s.HasInfo, s.Info.State = true, CloseWait }),
		},
		{name: "a ULP with its NUL", attrs: ulp("mptcp\x00"), want: with(func(s *Socket) { s.ULP = "mptcp" })},
		{name: "a ULP without NUL", attrs: ulp("tls"), want: with(func(s *Socket) { s.ULP = "tls" })},
		{name: "an unknown ULP", attrs: ulp("espintcp\x00rest"), want: with(func(s *Socket) { s.ULP = "espintcp" })},
		{name: "a ULP without a name", attrs: attr(attrULP, attr(3, 1)...), want: plain},
		{name: "the last one without its padding", attrs: attr(attrInfo, byte(FinWait2))[:5], want: with(func(s *Socket) {
			s.HasInfo, s.Info.State = true, FinWait2
		})},
		{name: "half an attribute", attrs: []byte{8, 0, 2}, err: "shorter than its length"},
		{name: "one that is too long", attrs: attr(attrInfo, 1, 2, 3, 4)[:6], err: "shorter than its length"},
		{name: "one that is too short", attrs: []byte{3, 0, 2, 0}, err: "shorter than its length"},
		{name: "a ULP that is broken", attrs: attr(attrULP, 1), err: "ULP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Socket{Inode: 12345, ULP: "left over", HasInfo: true}
			err := parseSocket(append(append([]byte(nil), base...), tt.attrs...), &got)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want an error with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(ID{})); diff != "" {
				t.Errorf("socket (-want +got):\n%s", diff)
			}
		})
	}
}

func TestATruncatedSocketIsAnError(t *testing.T) {
	whole := socketMessage(typeByFamily, 1, testID(unix.AF_INET, 1), FinWait2)[sizeofHeader:]
	for n := range whole {
		if err := parseSocket(whole[:n], new(Socket)); err == nil {
			t.Errorf("no error for %d bytes of %d", n, len(whole))
		}
	}
	whole[0] = unix.AF_UNIX
	if err := parseSocket(whole, new(Socket)); err == nil {
		t.Error("no error for a socket of AF_UNIX")
	}
}

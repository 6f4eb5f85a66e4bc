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

// kernelTCPInfo is a struct tcp_info as x/sys lays it out, each field with a value of its own, and that value
// by field name.
func kernelTCPInfo() (raw []byte, want map[string]uint64) {
	var k unix.TCPInfo
	want = make(map[string]uint64)
	v := reflect.ValueOf(&k).Elem()
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		if !f.CanUint() || name == "_" {
			continue
		}
		f.SetUint(uint64(i + 1))
		want[strings.ToLower(strings.ReplaceAll(name, "_", ""))] = uint64(i + 1)
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&k)), unsafe.Sizeof(k)), want
}

// unitOf is what a field's Duration counts in the kernel.
func unitOf(field string) time.Duration {
	if strings.HasPrefix(field, "Last") {
		return time.Millisecond
	}
	return time.Microsecond
}

// otherNames are the fields that are not simply the kernel's name without underscores.
func otherNames() map[string]string {
	return map[string]string{"reorder": "reordering"}
}

func TestTCPInfoIsReadWhereTheKernelPutsIt(t *testing.T) {
	raw, want := kernelTCPInfo()
	var got TCPInfo
	parseTCPInfo(raw, &got)
	v := reflect.ValueOf(got)
	for i := range v.NumField() {
		field := v.Type().Field(i).Name
		name := strings.ToLower(field)
		if other, ok := otherNames()[name]; ok {
			name = other
		}
		value, ok := want[name]
		if !ok {
			t.Errorf("%s: struct tcp_info has no %s", field, name)
			continue
		}
		var read uint64
		if d, ok := reflect.TypeAssert[time.Duration](v.Field(i)); ok {
			read = uint64(d / unitOf(field))
		} else {
			read = v.Field(i).Uint()
		}
		if read != value {
			t.Errorf("%s is %d, want %d", field, read, value)
		}
	}
}

func TestTCPInfoOfAnyLengthIsReadAsFarAsItGoes(t *testing.T) {
	raw, _ := kernelTCPInfo()
	var whole TCPInfo
	parseTCPInfo(raw, &whole)
	for n := range len(raw) + 100 {
		b := append(append([]byte(nil), raw...), make([]byte, 100)...)[:n:n]
		var got TCPInfo
		parseTCPInfo(b, &got)
		switch {
		case n >= sizeofTCPInfo && got != whole:
			t.Errorf("%d bytes: %+v, want %+v", n, got, whole)
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

func TestAttributesAreReadAndUnknownOnesSkipped(t *testing.T) {
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
			name: "shutdown behind a padded one", attrs: append(attr(200, 1, 2, 3), attr(attrShutdown, RcvShutdown)...),
			want: with(func(s *Socket) { s.HasShutdown, s.Shutdown = true, RcvShutdown }),
		},
		{name: "empty shutdown and tcp_info", attrs: append(attr(attrShutdown), attr(attrInfo)...), want: plain},
		{
			name: "tcp_info of one byte", attrs: attr(attrInfo, byte(CloseWait)),
			want: with(func(s *Socket) { s.HasInfo, s.Info.State = true, CloseWait }),
		},
		{name: "a ULP with its NUL", attrs: ulp("mptcp\x00"), want: with(func(s *Socket) { s.ULP = "mptcp" })},
		{name: "a ULP without NUL", attrs: ulp("tls"), want: with(func(s *Socket) { s.ULP = "tls" })},
		{name: "a ULP nobody knows", attrs: ulp("espintcp\x00rest"), want: with(func(s *Socket) { s.ULP = "espintcp" })},
		{name: "a ULP without a name", attrs: attr(attrULP, attr(3, 1)...), want: plain},
		{name: "the last one without its padding", attrs: attr(attrShutdown, 3)[:5], want: with(func(s *Socket) {
			s.HasShutdown, s.Shutdown = true, RcvShutdown|SendShutdown
		})},
		{name: "half an attribute", attrs: []byte{8, 0, 2}, err: "shorter than it says"},
		{name: "one that is too long", attrs: attr(attrInfo, 1, 2, 3, 4)[:6], err: "shorter than it says"},
		{name: "one that is too short", attrs: []byte{3, 0, 2, 0}, err: "shorter than it says"},
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

func TestASocketCutShortIsAnError(t *testing.T) {
	whole := socketMessage(typeByFamily, 1, testID(unix.AF_INET, 1), FinWait2)[sizeofHeader:]
	for n := range whole {
		if err := parseSocket(whole[:n], new(Socket)); err == nil {
			t.Errorf("%d bytes of %d are no error", n, len(whole))
		}
	}
	whole[0] = unix.AF_UNIX
	if err := parseSocket(whole, new(Socket)); err == nil {
		t.Error("a socket of another family is no error")
	}
}

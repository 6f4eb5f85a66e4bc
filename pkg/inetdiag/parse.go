// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package inetdiag

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const sizeofDiagMsg = 4 + sizeofSockID + 20 // struct inet_diag_msg

// parseSocket reads a struct inet_diag_msg and the attributes behind it into s, all of which it sets. What it
// does not know it skips.
func parseSocket(b []byte, s *Socket) error {
	*s = Socket{}
	if len(b) < sizeofDiagMsg {
		return fmt.Errorf("read socket: %d bytes, want %d", len(b), sizeofDiagMsg)
	}
	if b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return fmt.Errorf("read socket: family %d is neither AF_INET nor AF_INET6", b[0])
	}
	s.ID.family = b[0]
	copy(s.ID.sockid[:], b[4:])
	s.State, s.Timer, s.Retrans = State(b[1]), b[2], b[3]
	tail := b[4+sizeofSockID : sizeofDiagMsg]
	s.Expires = milliseconds(tail[0:])
	s.RQueue = binary.NativeEndian.Uint32(tail[4:])
	s.WQueue = binary.NativeEndian.Uint32(tail[8:])
	s.UID = binary.NativeEndian.Uint32(tail[12:])
	s.Inode = binary.NativeEndian.Uint32(tail[16:])

	for b = b[sizeofDiagMsg:]; len(b) > 0; {
		typ, data, rest, err := parseAttr(b)
		if err != nil {
			return fmt.Errorf("read socket: %w", err)
		}
		b = rest
		switch typ {
		case attrInfo:
			if len(data) > 0 {
				s.HasInfo = true
				parseTCPInfo(data, &s.Info)
			}
		case attrShutdown:
			if len(data) > 0 {
				s.HasShutdown, s.Shutdown = true, data[0]
			}
		case attrClassID:
			if len(data) >= 4 {
				s.ClassID = binary.NativeEndian.Uint32(data)
			}
		case attrULP:
			if s.ULP, err = parseULP(data); err != nil {
				return fmt.Errorf("read socket's ULP: %w", err)
			}
		}
	}
	return nil
}

// parseULP reads the name from the nested attributes of INET_DIAG_ULP_INFO.
func parseULP(b []byte) (string, error) {
	for len(b) > 0 {
		typ, data, rest, err := parseAttr(b)
		if err != nil {
			return "", err
		}
		if typ == attrULPName {
			if i := bytes.IndexByte(data, 0); i >= 0 {
				data = data[:i]
			}
			// The common ones without an allocation.
			switch string(data) {
			case "mptcp":
				return "mptcp", nil
			case "tls":
				return "tls", nil
			}
			return string(data), nil
		}
		b = rest
	}
	return "", nil
}

// sizeofTCPInfo is how much of struct tcp_info is read: up to tcpi_snd_wnd, Linux 5.4.
const sizeofTCPInfo = 232

// parseTCPInfo reads struct tcp_info (include/uapi/linux/tcp.h). The struct only ever grew at its end, so a
// shorter one lacks the later fields and a longer one has some that are not read.
func parseTCPInfo(b []byte, i *TCPInfo) {
	if len(b) < sizeofTCPInfo {
		b = append(make([]byte, 0, sizeofTCPInfo), b...)[:sizeofTCPInfo]
	}
	b = b[:sizeofTCPInfo]
	u32, u64 := binary.NativeEndian.Uint32, binary.NativeEndian.Uint64

	i.State = State(b[0])
	i.CAState, i.Retransmits, i.Probes, i.Backoff, i.Options = b[1], b[2], b[3], b[4], b[5]
	// b[6] and b[7] are bit fields.
	i.RTO, i.ATO = microseconds(b[8:]), microseconds(b[12:])
	i.SndMSS, i.RcvMSS = u32(b[16:]), u32(b[20:])
	i.Unacked, i.Sacked, i.Lost = u32(b[24:]), u32(b[28:]), u32(b[32:])
	i.Retrans, i.Fackets = u32(b[36:]), u32(b[40:])

	i.LastDataSent = milliseconds(b[44:])
	// b[48:52] is tcpi_last_ack_sent: "Not remembered, sorry."
	i.LastDataRecv, i.LastAckRecv = milliseconds(b[52:]), milliseconds(b[56:])

	i.PMTU, i.RcvSSThresh = u32(b[60:]), u32(b[64:])
	i.RTT, i.RTTVar = microseconds(b[68:]), microseconds(b[72:])
	i.SndSSThresh, i.SndCwnd = u32(b[76:]), u32(b[80:])
	i.AdvMSS, i.Reorder = u32(b[84:]), u32(b[88:])
	i.RcvRTT = microseconds(b[92:])
	i.RcvSpace, i.TotalRetrans = u32(b[96:]), u32(b[100:])

	i.PacingRate, i.MaxPacingRate = u64(b[104:]), u64(b[112:])
	i.BytesAcked, i.BytesReceived = u64(b[120:]), u64(b[128:])
	i.SegsOut, i.SegsIn = u32(b[136:]), u32(b[140:])

	i.NotSentBytes, i.MinRTT = u32(b[144:]), microseconds(b[148:])
	i.DataSegsIn, i.DataSegsOut = u32(b[152:]), u32(b[156:])
	i.DeliveryRate = u64(b[160:])

	i.BusyTime = time.Duration(u64(b[168:])) * time.Microsecond
	i.RwndLimited = time.Duration(u64(b[176:])) * time.Microsecond
	i.SndbufLimited = time.Duration(u64(b[184:])) * time.Microsecond
	i.Delivered, i.DeliveredCE = u32(b[192:]), u32(b[196:])

	i.BytesSent, i.BytesRetrans = u64(b[200:]), u64(b[208:])
	i.DSACKDups, i.ReordSeen = u32(b[216:]), u32(b[220:])
	i.RcvOOOPack, i.SndWnd = u32(b[224:]), u32(b[228:])
}

func milliseconds(b []byte) time.Duration {
	return time.Duration(binary.NativeEndian.Uint32(b)) * time.Millisecond
}

func microseconds(b []byte) time.Duration {
	return time.Duration(binary.NativeEndian.Uint32(b)) * time.Microsecond
}

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
)

// servePostgres implements the part of PostgreSQL's protocol, version 3, that one query needs. The answer comes late.
func servePostgres(s *stage) func(conn *net.TCPConn) {
	return func(conn *net.TCPConn) {
		for {
			packet, err := readPostgres(conn)
			if err != nil {
				return
			}
			if binary.BigEndian.Uint32(packet) == 196608 { // the protocol's version: an earlier message requests encryption
				break
			}
			if _, err := conn.Write([]byte{'N'}); err != nil {
				return
			}
		}
		var hello bytes.Buffer
		writePostgres(&hello, 'R', "\x00\x00\x00\x00") // authenticated
		for _, parameter := range []string{"server_version\x0015.0\x00", "client_encoding\x00UTF8\x00", "standard_conforming_strings\x00on\x00", "DateStyle\x00ISO, MDY\x00"} {
			writePostgres(&hello, 'S', parameter)
		}
		writePostgres(&hello, 'Z', "I") // ready for a query
		if _, err := hello.WriteTo(conn); err != nil {
			return
		}
		kind := make([]byte, 1)
		if _, err := io.ReadFull(conn, kind); err != nil || kind[0] != 'Q' {
			return
		}
		if _, err := readPostgres(conn); err != nil {
			return
		}
		if !s.mayAnswer() {
			return
		}
		var row bytes.Buffer
		writePostgres(&row, 'T', "\x00\x01"+"column\x00"+"\x00\x00\x00\x00\x00\x00"+"\x00\x00\x00\x19"+"\xff\xff"+"\xff\xff\xff\xff"+"\x00\x00") // one column of text
		writePostgres(&row, 'D', "\x00\x01"+"\x00\x00\x00\x03"+"row")
		writePostgres(&row, 'C', "SELECT 1\x00")
		writePostgres(&row, 'Z', "I")
		_, _ = row.WriteTo(conn) // the client reports a lost row
	}
}

// readPostgres reads a packet behind its length.
func readPostgres(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, max(binary.BigEndian.Uint32(length[:]), 4)-4)
	_, err := io.ReadFull(r, packet)
	return packet, err
}

func writePostgres(b *bytes.Buffer, kind byte, packet string) {
	b.WriteByte(kind)
	_ = binary.Write(b, binary.BigEndian, uint32(len(packet)+4)) // a buffer takes all
	b.WriteString(packet)
}

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
)

const someBoot = "00000000-1111-2222-3333-444444444444"

// someArmed returns two sockets: one with a value in every field, one with as few as possible.
func someArmed() []armed {
	id := inetdiag.NewID(unix.AF_INET6, netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:443"), 3, 77)
	least := inetdiag.NewID(unix.AF_INET, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"), 0, 1<<63)
	return []armed{
		{
			identity: identity{5, 77}, id: id,
			netns: finder.Netns{Identity: netns.Identity{Cookie: 5, Dev: 4, Inode: 4026532000}, Paths: []string{"/var/run/netns/x"}},
			inode: 4711, table: table{12, 13}, number: 9, started: 99, saved: values{0, 86400, 40000, 200, 1}, armed: values{1, 89, 10, 6, 0},
		},
		{identity: identity{0, 1 << 63}, id: least, inode: 1, table: table{pid: 1}, armed: values{1, 1, 1, 1, 0}},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	for _, all := range [][]armed{nil, someArmed()[:1], someArmed()} {
		b := encodeRecord(someBoot, all)
		got, err := decodeRecord(b, someBoot)
		if err != nil || !reflect.DeepEqual(got, all) {
			t.Errorf("read %+v, %v, want %+v", got, err, all)
		}
		if _, err := decodeRecord(b, strings.Repeat("0", bootIDLength)); !errors.Is(err, errOtherBoot) {
			t.Errorf("in another boot: %v", err)
		}
		for at := range b { // each damaged byte, and each length
			damaged := append([]byte(nil), b...)
			damaged[at] ^= 1
			if _, err := decodeRecord(damaged, someBoot); err == nil {
				t.Errorf("byte %d is damaged, and the record reads", at)
			}
			if _, err := decodeRecord(b[:at], someBoot); err == nil {
				t.Errorf("cut at %d, and the record reads", at)
			}
		}
	}
}

func TestRecordHasAtMostABatch(t *testing.T) {
	t.Parallel()
	all := make([]armed, maxBatch+1)
	for n := range all {
		all[n] = someArmed()[0]
	}
	if _, err := decodeRecord(encodeRecord(someBoot, all[:maxBatch]), someBoot); err != nil {
		t.Error(err)
	}
	if _, err := decodeRecord(encodeRecord(someBoot, all), someBoot); err == nil {
		t.Error("a record of more than a batch reads")
	}
}

func TestInvalidEntryMakesTheRecordInvalid(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(a *armed){
		"no inode":                 func(a *armed) { a.inode = 0 },
		"no process":               func(a *armed) { a.table.pid = 0 },
		"a negative process":       func(a *armed) { a.table.pid = -1 },
		"a negative descriptor":    func(a *armed) { a.number = -1 },
		"no socket":                func(a *armed) { a.id = inetdiag.ID{} },
		"a count above the limits": func(a *armed) { a.armed[keepCount] = 128 },
		"a negative interval":      func(a *armed) { a.armed[keepIntvl] = -1 },
	} {
		a := someArmed()[0]
		change(&a)
		if got, err := decodeRecord(encodeRecord(someBoot, []armed{a}), someBoot); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestNextProberReadsEarlierRecords(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "asked")
	first, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	first.prefix = "1-1-"
	name, err := first.write(someArmed())
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{".1-1-9.armed": "half", "wrong.armed": "rubbish", "README": "not a record"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := encodeRecord(someBoot, someArmed())
	if err := os.WriteFile(filepath.Join(dir, "other.armed"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link.armed")); err != nil {
		t.Fatal(err)
	}
	next, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.write(someArmed()[:1]); err != nil { // a record of this process is not an earlier one
		t.Fatal(err)
	}
	left, unreadable, err := next.read()
	if err != nil || len(left) != 1 || left[0].name != name || !reflect.DeepEqual(left[0].armed, someArmed()) {
		t.Errorf("read %+v, %v", left, err)
	}
	if len(unreadable) != 2 {
		t.Errorf("unreadable: %v, want wrong.armed and link.armed", unreadable)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 { // the two records, and the file that is no record
		t.Errorf("%v are left, %v", entries, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != recordsPerm {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
}

// TestSocketIsRestoredFromItsLatestRecord is about a reaper that is killed before it has removed the record of an earlier
// question. The earlier record has another TCP_KEEPIDLE, which would be taken for the application's own change.
func TestSocketIsRestoredFromItsLatestRecord(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		prefixes [2]string
		written  uint64 // records before the two
	}{
		"of one process":             {prefixes: [2]string{"20-100-", "20-100-"}},
		"whose number has one digit": {prefixes: [2]string{"20-100-", "20-100-"}, written: 8},
		"of two processes":           {prefixes: [2]string{"20-99-", "3-100-"}},
		"of a smaller process ID":    {prefixes: [2]string{"4000000-99-", "3-1000-"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := handLoop(t, Config{})
			records := &records{dir: l.p.env.records.dir, boot: l.p.env.records.boot}
			records.next.Store(tt.written)
			write := func(prefix string, idle int32) {
				records.prefix = prefix
				all := someArmed()
				all[0].armed[keepIdle] = idle
				if _, err := records.write(all); err != nil {
					t.Fatal(err)
				}
			}
			write(tt.prefixes[0], 11)
			write(tt.prefixes[1], 22)
			if err := l.recover(); err != nil {
				t.Fatal(err)
			}
			if len(l.recovered) != 2 {
				t.Errorf("%d sockets to restore, want 2", len(l.recovered))
			}
			if got := l.armedSockets[someArmed()[0].identity].armed.armed[keepIdle]; got != 22 {
				t.Errorf("TCP_KEEPIDLE of the socket counts as %d, not as the 22 of the latest record", got)
			}
			if len(l.obsolete) != 1 {
				t.Errorf("obsolete records: %q, want the earlier one", l.obsolete)
			}
		})
	}
}

// FuzzDecodeRecord gives the decoder records whose checksum is right.
func FuzzDecodeRecord(f *testing.F) {
	for _, all := range [][]armed{nil, someArmed()[:1], someArmed()} {
		f.Add(encodeRecord(someBoot, all))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= recordTrailer {
			binary.NativeEndian.PutUint32(b[len(b)-recordTrailer:], crc32.ChecksumIEEE(b[:len(b)-recordTrailer]))
		}
		all, err := decodeRecord(b, someBoot)
		if err != nil {
			return
		}
		if len(all) > maxBatch {
			t.Errorf("%d entries", len(all))
		}
		again, err := decodeRecord(encodeRecord(someBoot, all), someBoot)
		if err != nil || !reflect.DeepEqual(again, all) {
			t.Errorf("written again it reads %+v, %v, want %+v", again, err, all)
		}
	})
}

func FuzzSocketInode(f *testing.F) {
	for _, s := range []string{"socket:[7]", "socket:[4294967295]", "socket:[4294967296]", "socket:[]", "pipe:[7]", "socket:[0x7]", "socket:[007"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, link []byte) {
		inode, ok := socketInode(link)
		var want uint32
		_, err := fmt.Sscanf(string(link), "socket:[%d]", &want)
		if ok && (err != nil || inode != want) {
			t.Errorf("%q is inode %d, want %d, %v", link, inode, want, err)
		}
	})
}

// TestTheRecordsOfAnEarlierProberOfThisProcessAreRead has a reaper that was idle, stopped its Prober and starts another.
func TestTheRecordsOfAnEarlierProberOfThisProcessAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	left, err := first.write(someArmed())
	if err != nil {
		t.Fatal(err)
	}
	second, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	own, err := second.write(someArmed()[:1])
	if err != nil || own == left {
		t.Fatalf("the second Prober writes %s, %v", own, err)
	}
	if read, _, err := second.read(); err != nil || len(read) != 1 || read[0].name != left {
		t.Errorf("it reads %+v, %v", read, err)
	}
}

func TestOfTooManyRecordsTheLatestAreReadAndTheOthersReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	earlier, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	earlier.prefix = "1-1-"
	for range maxRecords + 2 {
		if _, err := earlier.write(someArmed()[:1]); err != nil {
			t.Fatal(err)
		}
	}
	r, err := openRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	left, unreadable, err := r.read()
	if err != nil || len(left) != maxRecords || left[0].name != fmt.Sprintf("1-1-%d.armed", maxRecords+2) || len(unreadable) != 1 ||
		!strings.Contains(fmt.Sprint(unreadable), "2 more records") {
		t.Errorf("%d are read, the first is %s; %v, %v", len(left), left[0].name, unreadable, err)
	}
}

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package prober

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/owners"
)

// armed is a socket that has, or is about to get, the options of a question. A record of it lets the next reaper restore
// them.
type armed struct {
	identity
	id      inetdiag.ID
	netns   finder.Netns // identity and one path; no path if that is too long for a record
	inode   uint32
	table   table
	number  int    // of the descriptor
	started uint64 // when the process was started, in ticks after the boot; 0 if unknown
	saved   values
	armed   values
}

// newArmed returns the socket of a question.
func newArmed(q *Question) armed {
	n := q.Netns
	a := armed{identity: identity{n.Identity.Cookie, q.ID.Cookie()}, id: q.ID, netns: finder.Netns{Identity: n.Identity}, inode: q.Inode}
	if len(n.Paths) > 0 && len(n.Paths[0]) < pathLength {
		a.netns.Paths = n.Paths[:1]
	}
	return a
}

// A record is a file of one batch: magic, boot ID, entries of a fixed size, and a CRC-32 of all before it, in native byte
// order. It is written before the sockets are armed. It needs no fsync: the options do not survive a reboot, and the page
// cache survives a killed process.
const (
	recordMagic   = "halfclose asked 1\n"
	recordEntry   = 3*8 + pathLength + inetdiag.SizeofID + 4*4 + 8 + 2*4*int(optionCount)
	recordHeader  = len(recordMagic) + bootIDLength
	recordTrailer = 4
	maxRecord     = recordHeader + maxBatch*recordEntry + recordTrailer
	bootIDLength  = 36  // of /proc/sys/kernel/random/boot_id without its newline
	pathLength    = 128 // with a byte for the length
)

func appendArmed(b []byte, a *armed) []byte {
	ne := binary.NativeEndian
	for _, n := range []uint64{a.netns.Identity.Cookie, a.netns.Identity.Dev, a.netns.Identity.Inode} {
		b = ne.AppendUint64(b, n)
	}
	path := ""
	if len(a.netns.Paths) > 0 {
		path = a.netns.Paths[0]
	}
	var field [pathLength]byte
	field[0] = byte(copy(field[1:], path))
	b = append(b, field[:]...)
	b, _ = a.id.AppendBinary(b) // its error is always nil
	for _, n := range []uint32{a.inode, uint32(a.table.pid), uint32(a.table.tid), uint32(a.number)} {
		b = ne.AppendUint32(b, n)
	}
	b = ne.AppendUint64(b, a.started)
	for _, v := range []*values{&a.saved, &a.armed} {
		for _, n := range v {
			b = ne.AppendUint32(b, uint32(n))
		}
	}
	return b
}

func encodeRecord(boot string, all []armed) []byte {
	b := make([]byte, 0, recordHeader+len(all)*recordEntry+recordTrailer)
	b = append(append(b, recordMagic...), boot...)
	for i := range all {
		b = appendArmed(b, &all[i])
	}
	return binary.NativeEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

var errOtherBoot = errors.New("record is of another boot")

// decodeRecord parses a record. An entry that no Prober can have written makes the whole record invalid.
func decodeRecord(b []byte, boot string) ([]armed, error) {
	if len(b) < recordHeader+recordTrailer || len(b) > maxRecord || (len(b)-recordHeader-recordTrailer)%recordEntry != 0 ||
		string(b[:len(recordMagic)]) != recordMagic {
		return nil, errors.New("not a record of this version")
	}
	body, sum := b[:len(b)-recordTrailer], binary.NativeEndian.Uint32(b[len(b)-recordTrailer:])
	if crc32.ChecksumIEEE(body) != sum {
		return nil, errors.New("checksum does not match")
	}
	if string(body[len(recordMagic):recordHeader]) != boot {
		return nil, errOtherBoot
	}
	var all []armed
	for e := body[recordHeader:]; len(e) > 0; e = e[recordEntry:] {
		a, err := decodeArmed(e[:recordEntry])
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

func decodeArmed(e []byte) (a armed, err error) {
	ne := binary.NativeEndian
	u64 := func() uint64 {
		n := ne.Uint64(e)
		e = e[8:]
		return n
	}
	u32 := func() uint32 {
		n := ne.Uint32(e)
		e = e[4:]
		return n
	}
	a.netns.Identity = netns.Identity{Cookie: u64(), Dev: u64(), Inode: u64()}
	if n := int(e[0]); n >= pathLength {
		return a, errors.New("entry has a path that is too long")
	} else if n > 0 {
		a.netns.Paths = []string{string(e[1 : 1+n])}
	}
	e = e[pathLength:]
	if err := a.id.UnmarshalBinary(e[:inetdiag.SizeofID]); err != nil {
		return a, err
	}
	e = e[inetdiag.SizeofID:]
	a.identity = identity{a.netns.Identity.Cookie, a.id.Cookie()}
	a.inode = u32()
	pid, tid, number := int32(u32()), int32(u32()), int32(u32())
	a.table, a.number = table{int(pid), int(tid)}, int(number)
	a.started = u64()
	for _, v := range []*values{&a.saved, &a.armed} {
		for o := range v {
			v[o] = int32(u32())
		}
	}
	if a.cookie == 0 || a.inode == 0 || pid <= 0 || tid < 0 || number < 0 {
		return a, errors.New("entry has no valid socket")
	}
	for o := range a.armed {
		if a.armed[o] < 0 || a.armed[o] > option(o).limit() {
			return a, errors.New("entry has a value that no question can have")
		}
	}
	return a, nil
}

// records is the directory of the records.
type records struct {
	dir  string
	boot string
	// prefix is unique to this process, so that it never overwrites the records of an earlier one.
	prefix string
	next   atomic.Uint64
	// inherited is the last number of an earlier Prober of this process.
	inherited uint64
}

const (
	recordSuffix = ".armed"
	recordPerm   = 0o600
	recordsPerm  = 0o700
	// maxRecords bounds the records of earlier processes that are read, to 512,000 sockets.
	maxRecords = 4000
)

func openRecords(dir string) (*records, error) {
	if err := os.MkdirAll(dir, recordsPerm); err != nil {
		return nil, fmt.Errorf("create the directory of asked sockets: %w", err)
	}
	b, err := hostfs.ReadFile("/proc/sys/kernel/random/boot_id", 128, 0)
	if err != nil {
		return nil, fmt.Errorf("read boot ID: %w", err)
	}
	boot := strings.TrimSpace(string(b))
	if len(boot) != bootIDLength {
		return nil, fmt.Errorf("read boot ID: %q has %d bytes, want %d", boot, len(boot), bootIDLength)
	}
	started, err := owners.StartTime("/proc", os.Getpid())
	if err != nil {
		return nil, err
	}
	r := &records{dir: dir, boot: boot, prefix: fmt.Sprintf("%d-%d-", os.Getpid(), started)}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the directory of asked sockets: %w", err)
	}
	for _, e := range entries {
		if n, ok := r.ownNumber(e.Name()); ok {
			r.inherited = max(r.inherited, n)
		}
	}
	r.next.Store(r.inherited)
	return r, nil
}

// ownNumber returns the number of a record of this process.
func (r *records) ownNumber(name string) (n uint64, ok bool) {
	digits, isOwn := strings.CutPrefix(strings.TrimSuffix(name, recordSuffix), r.prefix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, isOwn && err == nil
}

// write writes a new record atomically, and returns its name.
func (r *records) write(all []armed) (string, error) {
	name := r.prefix + strconv.FormatUint(r.next.Add(1), 10) + recordSuffix
	path := filepath.Join(r.dir, name)
	tmp := filepath.Join(r.dir, "."+name)
	if err := writeFile(tmp, encodeRecord(r.boot, all)); err != nil {
		_ = os.Remove(tmp)
		return "", fmt.Errorf("record asked sockets: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return "", fmt.Errorf("record asked sockets: %w", err)
	}
	return name, nil
}

func writeFile(path string, data []byte) error {
	f, err := hostfs.OpenRegular(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, recordPerm)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (r *records) remove(name string) error {
	err := os.Remove(filepath.Join(r.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// earlier is a record of an earlier process.
type earlier struct {
	name  string
	armed []armed
}

// read reads the records of earlier Probers, the latest first. It removes records of other boots, unfinished ones and unreadable ones. It
// returns the errors of the last, and one if there are too many.
func (r *records) read() (left []earlier, unreadable []error, err error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read the directory of asked sockets: %w", err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		n, isOwn := r.ownNumber(name)
		switch {
		case !strings.HasSuffix(name, recordSuffix), isOwn && n > r.inherited:
		case strings.HasPrefix(name, "."):
			_ = r.remove(name) // of a process that was killed before it armed a socket
		default:
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(writeOrder(b, a), cmp.Compare(a, b)) })
	for n, name := range names {
		if len(left) == maxRecords {
			unreadable = append(unreadable, fmt.Errorf("%d more records of asked sockets are left to the next reaper", len(names)-n))
			break
		}
		all, err := r.readOne(name)
		if err == nil && len(all) > 0 {
			left = append(left, earlier{name, all})
			continue
		}
		if err != nil && !errors.Is(err, errOtherBoot) {
			unreadable = append(unreadable, fmt.Errorf("read asked sockets of %s: %w", filepath.Join(r.dir, name), err))
		}
		_ = r.remove(name)
	}
	return left, unreadable, nil
}

// writeOrder compares when records of this boot were written: by the start of the process that did, then by their number.
func writeOrder(a, b string) int {
	order := func(name string) (o [2]uint64) {
		var pid int
		_, _ = fmt.Sscanf(name, "%d-%d-%d", &pid, &o[0], &o[1]) // zeros for a foreign name
		return o
	}
	x, y := order(a), order(b)
	return slices.Compare(x[:], y[:])
}

func (r *records) readOne(name string) ([]armed, error) {
	b, err := hostfs.ReadFile(filepath.Join(r.dir, name), maxRecord, unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	return decodeRecord(b, r.boot)
}

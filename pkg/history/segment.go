// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/state"
)

// Dir returns the directory of the history for a state directory. It survives a reboot.
func Dir(stateDir string) string { return filepath.Join(state.PersistentDir(stateDir), "history") }

const (
	suffix     = ".ndjson"
	nameLayout = "20060102T150405Z"
	// version is the version of the format. A reader skips segments of later versions.
	version = 1
)

// segment is a file of the history.
type segment struct {
	name   string
	number uint64 // in the order of writing, which the clock may not have
	size   int64
}

// segmentName returns the name of a segment. The number decides the order: the clock may have been set back.
func segmentName(number uint64, at time.Time) string {
	return fmt.Sprintf("%08d-%s%s", number, at.UTC().Format(nameLayout), suffix)
}

// parseSegmentName returns the number of a segment. It reports false for other files.
func parseSegmentName(name string) (number uint64, ok bool) {
	digits, rest, ok := strings.Cut(name, "-")
	if !ok || len(digits) < 8 || len(digits) > 18 {
		return 0, false
	}
	rest, ok = strings.CutSuffix(rest, suffix)
	if _, err := time.Parse(nameLayout, rest); err != nil || !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, err == nil
}

// listSegments lists the segments in the order of writing. It skips other files.
func listSegments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []segment
	for _, e := range entries {
		number, ok := parseSegmentName(e.Name())
		if !ok || e.IsDir() {
			continue
		}
		s := segment{name: e.Name(), number: number}
		if info, err := e.Info(); err == nil {
			s.size = info.Size()
		} else if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b segment) int { return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.name, b.name)) })
	return list, nil
}

// segmentHead is the value of the first line of a segment.
type segmentHead struct {
	Version int `json:"version"`
}

// errDamaged is the error of a segment without a first line of its own.
var errDamaged = errors.New("its first line is missing or damaged")

// readHead reads the first line of a segment.
func readHead(f io.ReaderAt) (Line, error) {
	buf := make([]byte, 512)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Line{}, err
	}
	first, _, ok := bytes.Cut(buf[:n], []byte("\n"))
	line, valid := parseLine(first)
	var head segmentHead
	switch {
	case !ok || !valid || line.Kind != kindSegment || json.Unmarshal(first, &head) != nil || head.Version < 1:
		return Line{}, errDamaged
	case head.Version > version:
		return Line{}, fmt.Errorf("it has version %d of the format: a newer halfclose wrote it", head.Version)
	}
	return line, nil
}

// readLast returns the last complete line of a segment, and the number of bytes up to its end.
func readLast(f io.ReaderAt, size int64) (last Line, end int64, ok bool) {
	const tail = 64 << 10
	buf := make([]byte, min(size, tail))
	from := size - int64(len(buf))
	n, err := f.ReadAt(buf, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return last, 0, false
	}
	buf = buf[:n]
	stop := bytes.LastIndexByte(buf, '\n')
	if stop < 0 {
		return last, 0, false
	}
	start := bytes.LastIndexByte(buf[:stop], '\n') + 1
	last, ok = parseLine(buf[start:stop])
	return last, from + int64(stop) + 1, ok
}

// openSegment opens a segment for reading. It follows no symbolic link.
func openSegment(dir, name string) (*os.File, int64, error) {
	f, err := hostfs.OpenRegular(filepath.Join(dir, name), os.O_RDONLY, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

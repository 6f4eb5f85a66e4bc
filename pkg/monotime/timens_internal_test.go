// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monotime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestOffsetOfATimeNamespace(t *testing.T) {
	const ahead = "monotonic        3600         5\nboottime            0         0\n"
	for name, tc := range map[string]struct {
		own, children, offsets string
		want                   time.Duration
		refused                string // in the error
	}{
		"a kernel without time namespaces has one time":     {},
		"the initial time namespace needs no offsets":       {own: initialTimeNamespace, offsets: "unread"},
		"another time namespace is ahead":                   {own: "time:[7]", children: "time:[7]", offsets: ahead, want: time.Hour + 5},
		"another time namespace is behind":                  {own: "time:[7]", children: "time:[7]", offsets: "monotonic -100 250000000\n", want: -100*time.Second + 250*time.Millisecond},
		"a clock may have its number for a name":            {own: "time:[7]", children: "time:[7]", offsets: "7 1 1\n1 2 0\n", want: 2 * time.Second},
		"the children's time namespace is another":          {own: "time:[7]", children: "time:[8]", offsets: ahead, refused: "time:[8] alone"},
		"the children's time namespace cannot be read":      {own: "time:[7]", offsets: ahead, refused: "time_for_children"},
		"the offsets cannot be read":                        {own: "time:[7]", children: "time:[7]", refused: "timens_offsets"},
		"the offsets have no line of the monotonic clock":   {own: "time:[7]", children: "time:[7]", offsets: "boottime 1 0\n", refused: "monotonic"},
		"the offsets are no numbers":                        {own: "time:[7]", children: "time:[7]", offsets: "monotonic soon 0\n", refused: "soon"},
		"the nanoseconds are more than a second":            {own: "time:[7]", children: "time:[7]", offsets: "monotonic 1 1000000000\n", refused: "invalid offset"},
		"the seconds are more than any clock can be ahead ": {own: "time:[7]", children: "time:[7]", offsets: "monotonic 9223372036854775807 0\n", refused: "invalid offset"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "ns"), 0o700); err != nil {
				t.Fatal(err)
			}
			for link, text := range map[string]string{"ns/time": tc.own, "ns/time_for_children": tc.children} {
				if text == "" {
					continue
				}
				if err := os.Symlink(text, filepath.Join(dir, link)); err != nil {
					t.Fatal(err)
				}
			}
			if tc.offsets != "" {
				if err := os.WriteFile(filepath.Join(dir, "timens_offsets"), []byte(tc.offsets), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := namespaceOffset(dir)
			if tc.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refused) || !strings.Contains(err.Error(), "run halfclose in the initial time namespace") {
					t.Fatalf("the error is %v, want %q and a remedy", err, tc.refused)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Errorf("the offset is %v (%v), want %v", got, err, tc.want)
			}
		})
	}
}

func TestOffsetIsUnknownWithoutProc(t *testing.T) {
	if offset, err := namespaceOffset(filepath.Join(t.TempDir(), "self")); err == nil {
		t.Errorf("the offset is %v without /proc", offset)
	}
}

func FuzzParseOffsets(f *testing.F) {
	f.Add(int64(0), int64(0))
	f.Add(int64(-100), int64(999999999))
	f.Add(int64(9223372036), int64(0))
	f.Fuzz(func(t *testing.T, sec, nsec int64) {
		offset, err := parseOffsets(fmt.Sprintf("boottime 1 1\nmonotonic %10d %9d\n", sec, nsec))
		if err == nil && (offset < 0) != (sec < 0) {
			t.Errorf("%d s and %d ns are an offset of %v", sec, nsec, offset)
		}
	})
}

func TestFakeFollowsTheBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clock Clock = Fake{}
		began, date := clock.Now(), clock.Wall()
		time.Sleep(time.Hour)
		if d := clock.Now().Sub(began); began <= 0 || d != time.Hour {
			t.Errorf("Now: an hour after %v took %v", began, d)
		}
		if d := clock.Wall().Sub(date); d != time.Hour {
			t.Errorf("Wall: an hour took %v", d)
		}
	})
}

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// text returns a table as its file has it.
func text(t *testing.T, table Table) string {
	t.Helper()
	var b bytes.Buffer
	if err := (&Hour{Start: hour, Ended: table}).encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var hour = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)

func TestTrackTakes24Bytes(t *testing.T) {
	if size := unsafe.Sizeof(Track{}); size > 24 {
		t.Errorf("a track takes %d bytes: there may be 500,000", size)
	}
}

func TestBucketsAreAtMostAFactorOfTwoApart(t *testing.T) {
	for i, e := range edges[1:] {
		if e <= edges[i] || e > 2*edges[i] {
			t.Errorf("%v follows %v", e, edges[i])
		}
	}
	for i, e := range edges {
		if bucketOf(e) != Bucket(i+1) || bucketOf(e-1) != Bucket(i) {
			t.Errorf("%v is in bucket %d, the time before in %d", e, bucketOf(e), bucketOf(e-1))
		}
	}
}

func TestTrackSurvivesARestart(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 4))
		h, track := randomConnection(r).watch()
		track.Set(Verdict{Pending: seed%2 == 0, Eligible: true, Rule: 3, Grace: time.Minute})
		b, _ := track.AppendBinary(nil)
		var back Track
		if err := back.UnmarshalBinary(b); err != nil || back != track || len(b) != TrackSize {
			t.Fatalf("seed %d: %+v became %+v, %v", seed, track, back, err)
		}
		// The time without a reaper is no distance of looks, but a byte may have moved at any time in it.
		distance := back.distance
		next := h
		next.Last = h.Last.Add(24 * time.Hour)
		next.Progress = next.Last
		back.Resume()
		back.Continue(&h, &next)
		if back.distance != distance {
			t.Errorf("seed %d: the pause became a distance of looks", seed)
		}
		if got := back.ended[track.class()].high; !got.isAtLeast(24 * time.Hour) {
			t.Errorf("seed %d: the period that a byte ended is in bucket %d, want a day at most", seed, got)
		}
	}
}

func FuzzTrack(f *testing.F) {
	b, _ := (&Track{earliest: 7, ended: [2]bounds{{1, 2}, {3, 4}}}).AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var track Track
		if track.UnmarshalBinary(b) != nil {
			return
		}
		h := policy.History{State: inetdiag.CloseWait, Owned: true, Since: 1, Start: 1, Last: 2}
		table := Table{}
		table.Add(Pod{}, &h, &track, Closed, 3)
		d := &Data{Tables: []Table{table}}
		for _, grace := range edges {
			if o := d.Estimate(&Query{Grace: grace}).Total; o.Wrong.Least > o.Wrong.Most || o.Destroyed.Least > o.Destroyed.Most {
				t.Fatalf("%+v: %+v", track, o)
			}
		}
	})
}

// TestSocketOfAnotherRegistrationCountsOnce unregisters an idle socket, and registers it again.
func TestSocketOfAnotherRegistrationCountsOnce(t *testing.T) {
	h := policy.History{State: inetdiag.CloseWait, Owned: true, Since: model, Start: model, Last: model.Add(time.Hour)}
	var track Track
	track.Begin(&h, 0, Verdict{Eligible: true})
	table := Table{}
	table.Add(Pod{}, &h, &track, Unregistered, h.Last)
	track.SetCounted()
	track.Resume()
	last := h
	last.Last = h.Last.Add(time.Hour)
	track.Continue(&h, &last)
	table.Add(Pod{}, &last, &track, Closed, last.Last)
	d := &Data{Tables: []Table{table}}
	if o := d.Estimate(&Query{Grace: 10 * time.Minute}).Total; o.Sockets != 1 || o.Destroyed != (Range{1, 1}) {
		t.Errorf("an idle socket: %+v", o)
	}
	moved := last
	moved.Last = last.Last.Add(time.Minute)
	moved.Progress = moved.Last
	track.Continue(&last, &moved)
	table.Add(Pod{}, &moved, &track, Destroyed, moved.Last)
	if o := d.Estimate(&Query{Grace: 10 * time.Minute}).Total; o.Wrong != (Range{1, 1}) {
		t.Errorf("the byte after both registrations is not counted: %+v", o)
	}
}

func TestManyPodsBecomeOther(t *testing.T) {
	table := Table{}
	h := policy.History{State: inetdiag.FinWait2, Role: policy.RoleServer, Owned: true, Since: model, Start: model, Last: model.Add(time.Minute)}
	var track Track
	track.Begin(&h, 0, Verdict{Eligible: true, Rule: 4})
	const pods = 3 * MaxKeys
	for i := range pods {
		table.Add(Pod{Name: strconv.Itoa(i)}, &h, &track, Closed, h.Last)
	}
	if len(table) > MaxKeys+1 {
		t.Errorf("the table has %d keys", len(table))
	}
	o := (&Data{Tables: []Table{table}}).Estimate(&Query{Grace: 30 * time.Second, State: inetdiag.FinWait2, Role: policy.RoleServer}).Total
	if o.Sockets != pods || o.Destroyed != (Range{pods, pods}) {
		t.Errorf("the estimate lacks some: %+v", o)
	}
	if c := table[Key{Pod: Pod{Other: true}, State: inetdiag.FinWait2, Role: policy.RoleServer, End: Closed}]; c == nil || c.Sockets != pods-MaxKeys {
		t.Errorf("the other pods have %+v", c)
	}
}

func TestIneligibleSocketsAreNotCounted(t *testing.T) {
	h := policy.History{State: inetdiag.CloseWait, Owned: true, Since: model, Start: model, Last: model.Add(time.Hour)}
	orphan := h
	orphan.Owned = false
	for _, tt := range []struct {
		name    string
		h       policy.History
		verdict Verdict
		want    int
	}{
		{"an exempt socket", h, Verdict{}, 0},
		{"a socket without an owner", orphan, Verdict{Eligible: true}, 0},
		{"any other", h, Verdict{Eligible: true}, 1},
	} {
		var track Track
		track.Begin(&tt.h, 0, tt.verdict)
		table := Table{}
		table.Add(Pod{}, &tt.h, &track, Closed, tt.h.Last)
		if len(table) != tt.want {
			t.Errorf("%s: %d keys, want %d", tt.name, len(table), tt.want)
		}
	}
}

func TestStoreKeepsHours(t *testing.T) {
	s, later := NewStore(filepath.Join(t.TempDir(), "idle")), hour.Add(2*time.Hour)
	if hours, problems, err := s.Since(time.Time{}, later); len(hours) != 0 || len(problems) != 0 || err != nil {
		t.Fatalf("a missing directory: %v %v %v", hours, problems, err)
	}
	r := rand.New(rand.NewPCG(1, 5))
	first, second := NewHour(hour), NewHour(hour.Add(time.Hour+time.Minute))
	for _, h := range []*Hour{first, second} {
		h.Written = h.Start.Add(30 * time.Minute)
		h.Ended.Merge(randomTable(r))
		h.Ended.Merge(randomTable(r))
		maps.DeleteFunc(h.Ended, func(k Key, _ *Counts) bool { return k.End == Living })
		h.Living.Merge(Table{Key{State: inetdiag.CloseWait, End: Living}: &Counts{Sockets: 3}})
		if err := s.Write(h); err != nil {
			t.Fatal(err)
		}
	}
	back, err := s.Load(hour.Add(59 * time.Minute))
	if err != nil || text(t, back.Ended) != text(t, first.Ended) || back.Living[Key{State: inetdiag.CloseWait, End: Living}].Sockets != 3 {
		t.Fatalf("the first hour became %+v, %v", back, err)
	}
	hours, problems, err := s.Since(hour, later)
	if err != nil || len(problems) > 0 || len(hours) != 2 || !hours[0].Start.Equal(second.Start) {
		t.Fatalf("%v %v %v", hours, problems, err)
	}
	if len(hours[0].Living) != 1 || len(hours[1].Living) != 0 {
		t.Error("not the newest hour alone has living sockets: those of the older one would count twice")
	}
	if hours, _, _ := s.Since(second.Start, later); len(hours) != 1 {
		t.Errorf("%d hours since the second", len(hours))
	}

	// A wall clock was a year ahead for a moment: its living sockets do not replace those of now.
	wrong := NewHour(hour.AddDate(1, 0, 0))
	wrong.Living.Merge(Table{Key{State: inetdiag.FinWait2, End: Living}: &Counts{Sockets: 5}})
	if err := s.Write(wrong); err != nil {
		t.Fatal(err)
	}
	again, problems, err := s.Since(hour, later)
	if err != nil || len(again) != 2 || text(t, again[0].Living) != text(t, hours[0].Living) || len(problems) != 1 || !strings.Contains(problems[0].Error(), "of the future") {
		t.Errorf("with an hour of the future: %v %v %v", again, problems, err)
	}
	if err := os.Remove(filepath.Join(s.Dir(), wrong.Start.Format(hourName))); err != nil {
		t.Fatal(err)
	}

	// A damaged file is skipped with a problem; a foreign one is ignored.
	for name, text := range map[string]string{first.Start.Format(hourName): "{", "notes": ""} {
		if err := os.WriteFile(filepath.Join(s.Dir(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hours, problems, err = s.Since(time.Time{}, later)
	if err != nil || len(hours) != 1 || len(problems) != 1 || !strings.Contains(problems[0].Error(), "line 1") {
		t.Errorf("with a damaged file: %v %v %v", hours, problems, err)
	}
	if h, err := s.Load(hour); err == nil || len(h.Ended) != 0 {
		t.Errorf("the damaged hour: %+v %v", h, err)
	}
}

func TestPruneRemovesOldHours(t *testing.T) {
	s := NewStore(t.TempDir())
	for _, ago := range []time.Duration{0, 13 * 24 * time.Hour, 15 * 24 * time.Hour} {
		h := NewHour(hour.Add(-ago))
		if err := s.Write(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Prune(hour); err != nil {
		t.Fatal(err)
	}
	names, err := s.names()
	if err != nil || len(names) != 2 {
		t.Errorf("left are %v, %v", names, err)
	}
	// Over the limit on bytes only the newest is left.
	if err := os.Truncate(filepath.Join(s.Dir(), names[0]), maxStored+1); err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(hour); err != nil {
		t.Fatal(err)
	}
	if names, err := s.names(); err != nil || len(names) != 1 || names[0] != hour.Format(hourName) {
		t.Errorf("left are %v, %v", names, err)
	}
}

func FuzzHour(f *testing.F) {
	h := NewHour(hour)
	h.Ended.Merge(randomTable(rand.New(rand.NewPCG(2, 6))))
	var b bytes.Buffer
	if err := h.encode(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("{\"version\":1,\"hour\":\"2026-11-30T03:00:00Z\"}\n{\"state\":\"CLOSE_WAIT\",\"end\":\"living\",\"idleLow\":[[1,2]]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := parseHour(text)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := h.encode(&again); err != nil {
			t.Fatal(err)
		}
		if _, err := parseHour(again.Bytes()); err != nil {
			t.Fatalf("%q became %q: %v", text, again.Bytes(), err)
		}
		(&Data{Tables: []Table{h.Ended, h.Living}}).Suggest(Query{ProbeAfter: policy.Never})
	})
}

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package descriptors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/monotime"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/state"
)

// saved is the file that the next reaper reads. Without it, or with a damaged one, only the sockets that end later are watched.
type saved struct {
	Version   int            `json:"version"`
	Boot      string         `json:"boot"`
	Processes []savedProcess `json:"processes"`
}

// savedProcess has no descriptors: the first check of the next reaper finds them.
type savedProcess struct {
	PID         int       `json:"pid"`
	Started     uint64    `json:"started"` // in clock ticks after the boot
	Command     string    `json:"command"`
	ContainerID string    `json:"containerID,omitempty"`
	Pod         state.Pod `json:"pod"`
	Ended       uint64    `json:"ended"`
	// Sockets has the time of each socket's end, in nanoseconds after the boot, by inode number.
	Sockets map[uint32]int64 `json:"sockets"`
}

const (
	savedVersion = 1
	// maxSaved bounds the file that is read. DefaultMaxSockets sockets with maxOwners owners each need 14 MiB.
	maxSaved = 32 << 20
	// savedName is the name of the file in the log of writes.
	savedName = "descriptors"
)

// encode returns the processes that may hold sockets, in the order of their PIDs.
func (t *table) encode(boot string) ([]byte, error) {
	all := saved{Version: savedVersion, Boot: boot, Processes: []savedProcess{}}
	for _, pid := range slices.Sorted(maps.Keys(t.processes)) {
		p := t.processes[pid]
		if len(p.sockets) == 0 || p.started == 0 {
			continue
		}
		s := savedProcess{
			PID: p.PID, Started: p.started, Command: p.Command, ContainerID: p.ContainerID, Pod: p.pod, Ended: p.ended,
			Sockets: make(map[uint32]int64, len(p.sockets)),
		}
		for inode := range p.sockets {
			s.Sockets[inode] = int64(t.sockets[inode].ended)
		}
		all.Processes = append(all.Processes, s)
	}
	return json.Marshal(all)
}

var errOtherBoot = errors.New("saved descriptors are of another boot")

// decode adds the saved processes, whose check is due now. It skips impossible entries.
func (t *table) decode(data []byte, boot string, now monotime.Time) error {
	var all saved
	if err := json.Unmarshal(data, &all); err != nil {
		return fmt.Errorf("parse saved descriptors: %w", err)
	}
	switch {
	case all.Version != savedVersion:
		return fmt.Errorf("saved descriptors have version %d, want %d", all.Version, savedVersion)
	case all.Boot != boot:
		return errOtherBoot
	}
	for _, s := range all.Processes {
		if s.PID <= 0 || s.Started == 0 || t.processes[s.PID] != nil {
			continue
		}
		p := &process{
			Process: owners.Process{PID: s.PID, Command: s.Command, ContainerID: s.ContainerID}, started: s.Started, pod: s.Pod,
			sockets: make(map[uint32]owners.Place), index: -1, lastEnded: now,
		}
		for inode, ended := range s.Sockets {
			one := t.sockets[inode]
			if inode == 0 || ended < 0 || monotime.Time(ended) > now ||
				one == nil && len(t.sockets) >= t.max || one != nil && len(one.owners) >= maxOwners {
				continue
			}
			if one == nil {
				one = &socket{ended: monotime.Time(ended)}
				t.sockets[inode] = one
			}
			one.owners = append(one.owners, p)
			p.sockets[inode] = owners.Place{}
		}
		if len(p.sockets) == 0 {
			continue
		}
		p.ended = max(s.Ended, uint64(len(p.sockets)))
		t.processes[p.PID] = p
		t.schedule(p, now, now)
	}
	return nil
}

// load reads the file of an earlier reaper.
func (r *run) load(now monotime.Time) {
	if r.config.Path == "" {
		return
	}
	data, err := hostfs.ReadFile(r.config.Path, maxSaved, unix.O_NOFOLLOW)
	if err == nil {
		err = r.table.decode(data, r.config.Boot, now)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errOtherBoot) {
		r.config.Log.Warn("cannot read which descriptors of ended sockets were held: watching only new ones", "file", r.config.Path, "error", err)
	}
}

// save writes the file if there is a change.
func (r *run) save() {
	if r.config.Path == "" || !r.table.changed {
		return
	}
	data, err := r.table.encode(r.config.Boot)
	if err == nil {
		err = renameio.WriteFile(r.config.Path, data, 0o600)
	}
	r.table.changed = err != nil
	if r.config.Writes.Report(savedName, r.config.Path, err, r.config.Clock.Wall()) && err != nil {
		r.config.Log.Warn("cannot save which descriptors of ended sockets are held: after a restart only new ones are watched", "error", err)
	}
}

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package reaper

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/owners"
)

// Owners finds the processes that hold sockets.
type Owners interface {
	// Find returns who holds each of the sockets that anybody is found for. Lists may share memory, and are
	// not changed by anybody. An error that is an *owners.UnseenError says that more may be held than was
	// found; any error may come with what was found before. It may be called concurrently, and returns soon
	// after ctx ends.
	Find(ctx context.Context, q owners.Query) (map[uint32][]owners.Process, error)
}

// errNoOwners says that owners were asked of a reaper that has nothing to find them by.
var errNoOwners = errors.New("this reaper does not look for owners")

// addOwners looks up who holds each socket, all in one look.
func (r *Reaper) addOwners(ctx context.Context, views []api.SocketView) error {
	if r.cfg.Owners == nil {
		return errNoOwners
	}
	q := owners.Query{Inodes: make(map[uint32]struct{}, len(views)), Netns: make(map[uint64]struct{}), Scope: owners.Everywhere}
	for i := range views {
		if inode := views[i].Inode; inode != 0 {
			q.Inodes[inode] = struct{}{}
		}
	}
	if len(q.Inodes) == 0 {
		return nil
	}
	err := r.read(ctx, func(l *loop) {
		for id := range l.registry.namespaces {
			q.Netns[id.Inode] = struct{}{}
		}
	})
	if err != nil {
		return err
	}
	found, err := r.cfg.Owners.Find(ctx, q)
	for i := range views {
		views[i].Owners = found[views[i].Inode]
	}
	return err
}

// namedOwners bounds how many owners a line of the log names.
const namedOwners = 4

// ownersText names processes on a line of the log, as in: nginx[7] sidecar[9]. Commands are chosen by the
// processes, so one that could be taken for anything else is quoted.
func ownersText(list []owners.Process) string {
	var b strings.Builder
	for i, p := range list {
		if i == namedOwners {
			fmt.Fprintf(&b, " and %d more", len(list)-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s[%d]", safeCommand(p.Command), p.PID)
	}
	return b.String()
}

// safeCommand is a command as it is if it has nothing but letters, digits and a few signs, else quoted.
func safeCommand(command string) string {
	harmless := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/+@", r)
	}
	if command != "" && strings.IndexFunc(command, func(r rune) bool { return !harmless(r) }) < 0 {
		return command
	}
	return strconv.QuoteToASCII(command)
}

// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
)

// unregistration is the result of unregister.
type unregistration struct {
	Name string `json:"name"`
	Path string `json:"path"` // "" for an unreadable record
	// StillRecorded lists the attachments of the same namespace that CNI has recorded.
	StillRecorded []state.Attachment `json:"stillRecorded"`
	Notes         []string           `json:"notes"`
}

func unregisterCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unregister NETNS",
		Short: "Remove a registration of \"halfclose register\"",
		Long: `Remove a registration of "halfclose register". When the command returns, the
reaper has released the namespace.

NETNS is the argument of register, or the name of the registration. The
namespace may be gone already. Records of CNI stay until its DEL.`,
		Example: `  halfclose unregister web
  halfclose unregister /run/docker/netns/1a2b
  halfclose unregister pid-4711    # the name that register gives a process`,
		Args: oneNetns,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 || isPath(toComplete) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return e.completeRegistered(cmd.Context(), toComplete), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := e.checkStateDir(); err != nil {
				return err
			}
			u, err := e.unregister(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return e.printUnregistration(u)
		},
	}
	e.outputFlag(cmd)
	return cmd
}

// printUnregistration prints an unregistration, and its notes on stderr.
func (e *env) printUnregistration(u unregistration) error {
	if e.PrintsObject() {
		return e.PrintObject(u)
	}
	path := safetext.Escape(u.Path)
	if path == "" {
		path = "unreadable record"
	}
	fmt.Fprintf(e.Out, "unregistered %s: %s\n", u.Name, path)
	e.printNotes(u.Notes)
	return nil
}

// completeRegistered lists the registrations whose names begin with toComplete.
func (e *env) completeRegistered(ctx context.Context, toComplete string) []string {
	var names []string
	listing, err := e.store().List(ctx)
	if err != nil {
		return nil // a shell cannot show it during completion
	}
	for _, rec := range listing.Records {
		if rec.Manual() && strings.HasPrefix(rec.ContainerID, toComplete) {
			names = append(names, rec.ContainerID+"\t"+safetext.Escape(rec.Netns.Path))
		}
	}
	return names
}

// unregister deletes the registration that arg names.
func (e *env) unregister(ctx context.Context, arg string) (unregistration, error) {
	u := unregistration{StillRecorded: []state.Attachment{}, Notes: []string{}} // never null
	listing, err := e.store().List(ctx)
	if err != nil {
		return u, err
	}
	boot, err := netns.BootID()
	if err != nil {
		return u, err
	}
	rec, err := findRegistration(listing, newSelector(arg, boot))
	if err != nil {
		return u, err
	}
	if err := e.store().Delete(rec.Attachment); err != nil {
		return u, err
	}
	u.Name, u.Path = describe.Pod(rec.Pod, rec.ContainerID), rec.Netns.Path
	for _, other := range listing.Records {
		if !other.Manual() && other.Boot == rec.Boot && other.Netns.Same(rec.Netns.Identity) {
			u.StillRecorded = append(u.StillRecorded, other.Attachment)
			u.Notes = append(u.Notes, fmt.Sprintf("CNI has recorded this namespace too (%s): that record stays until its DEL",
				safetext.Escape(describe.Pod(other.Pod, other.ContainerID))))
		}
	}
	if launch.Running(e.store().SocketPath()) {
		if err := e.awaitRemoval(ctx, rec.Attachment); err != nil {
			u.Notes = append(u.Notes, fmt.Sprintf("the reaper has not released it yet: %v", err))
		}
	}
	return u, nil
}

// selector matches registrations with an argument of unregister.
type selector struct {
	arg   string
	exact bool // arg is a path: a registration of that path takes precedence
	paths []string
	ids   []netns.Identity // of the namespaces at the paths
	boot  string
}

// newSelector resolves arg as a name, a path and a process id.
func newSelector(arg, boot string) selector {
	w := selector{arg: arg, exact: isPath(arg), boot: boot}
	if w.exact {
		path, err := filepath.Abs(arg)
		if err != nil {
			path = arg
		}
		w.paths = []string{path}
	} else {
		for _, dir := range hostfs.NetnsDirs() {
			w.paths = append(w.paths, filepath.Join(dir, arg))
		}
		if isPID(arg) {
			w.paths = append(w.paths, procPath(arg))
		}
	}
	for _, path := range w.paths {
		if id, err := netns.Identify(path); err == nil {
			w.ids = append(w.ids, id)
		}
	}
	return w
}

// matches reports whether arg can name a record.
func (w selector) matches(rec state.Record) bool {
	return rec.ContainerID == w.arg || rec.Manual() && rec.Pod.String() == w.arg || slices.Contains(w.paths, rec.Netns.Path) ||
		rec.Boot == w.boot && slices.ContainsFunc(w.ids, rec.Netns.Same)
}

// findRegistration returns the only registration that matches.
func findRegistration(listing state.Listing, w selector) (state.Record, error) {
	var manual, byCNI []state.Record
	for _, rec := range listing.Records {
		switch {
		case !rec.Manual() && w.matches(rec):
			byCNI = append(byCNI, rec)
		case rec.Manual() && w.exact && slices.Contains(w.paths, rec.Netns.Path):
			return rec, nil
		case rec.Manual() && w.matches(rec):
			manual = append(manual, rec)
		}
	}
	switch {
	case len(manual) == 1:
		return manual[0], nil
	case len(manual) > 1:
		return state.Record{}, cmdline.AsUsage(fmt.Errorf("%q matches several registrations: %s: use the path of one", w.arg, listRegistrations(manual)))
	}
	for _, p := range listing.Problems { // an unreadable record can be removed too
		if a, _, err := state.ParseFileName(p.File); err == nil && a == state.ManualAttachment(w.arg) {
			return state.Record{Attachment: a}, nil
		}
	}
	if len(byCNI) > 0 {
		return state.Record{}, errRecordedByCNI(w.arg, byCNI[0])
	}
	all := slices.DeleteFunc(slices.Clone(listing.Records), func(rec state.Record) bool { return !rec.Manual() })
	if len(all) == 0 {
		return state.Record{}, fmt.Errorf("%q is not registered, and neither is any other namespace", w.arg)
	}
	return state.Record{}, fmt.Errorf("%q is not registered; registered are %s", w.arg, listRegistrations(all))
}

// errRecordedByCNI is an error that explains how to spare a container whose record unregister does not remove.
func errRecordedByCNI(arg string, rec state.Record) error {
	pod := describe.Pod(rec.Pod, rec.ContainerID)
	return fmt.Errorf("CNI has recorded %q (%s), and its DEL removes the record: to spare its sockets, run \"halfclose mode observe --pod %s\" (destroys none, until \"mode destroy --pod\"), "+
		"or set {mode: off} for it in the policy file (does not even look)", arg, pod, pod)
}

// listRegistrations formats registrations in one line.
func listRegistrations(records []state.Record) string {
	const maxListed = 8
	var list []string
	for i, rec := range records {
		if i == maxListed {
			list = append(list, fmt.Sprintf("and %d more", len(records)-maxListed))
			break
		}
		list = append(list, rec.ContainerID+" ("+safetext.Escape(rec.Netns.Path)+")")
	}
	return strings.Join(list, ", ")
}

// awaitRemoval waits until the reaper has released an attachment.
func (e *env) awaitRemoval(ctx context.Context, a state.Attachment) error {
	return e.awaitStatus(ctx, func(views []api.AttachmentView) bool {
		return !slices.ContainsFunc(views, func(v api.AttachmentView) bool { return v.Attachment == a })
	})
}

// The reaper reads changed records at once; without inotify, within 1 s.
const (
	recordTimeout = 3 * time.Second
	recordPoll    = 20 * time.Millisecond
)

// awaitStatus waits until the reaper's attachments satisfy cond.
func (e *env) awaitStatus(ctx context.Context, cond func([]api.AttachmentView) bool) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	client, err := e.client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(recordPoll)
	defer tick.Stop()
	for {
		s, err := client.Status(ctx)
		if err != nil || cond(s.Attachments) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("see \"halfclose status\"")
		case <-tick.C:
		}
	}
}

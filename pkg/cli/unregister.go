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

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// unregistration is what unregister has done.
type unregistration struct {
	Name string `json:"name"`
	Path string `json:"path"` // "" if its record could not be read
	// StillRecorded are the attachments that CNI has recorded of the same namespace.
	StillRecorded []state.Attachment `json:"stillRecorded"`
	Notes         []string           `json:"notes"`
}

func unregisterCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unregister NETNS",
		Short: "Take back a registration that was made with \"halfclose register\"",
		Long: `Take back a registration that was made with "halfclose register". When this returns,
the reaper has let go of the namespace.

NETNS is what was given to register, or what the registration is called; the
namespace need not be there any more. What CNI recorded stays until its DEL.`,
		Example: `  halfclose unregister web
  halfclose unregister /run/docker/netns/1a2b
  halfclose unregister pid-4711    # what register calls a process's namespace`,
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

// completeRegistered lists the registrations whose names begin as toComplete does.
func (e *env) completeRegistered(ctx context.Context, toComplete string) []string {
	var names []string
	listing, err := e.store().List(ctx)
	if err != nil {
		return nil // a shell that completes has no place for it
	}
	for _, rec := range listing.Records {
		if rec.Manual() && strings.HasPrefix(rec.ContainerID, toComplete) {
			names = append(names, rec.ContainerID+"\t"+term.Clean(rec.Netns.Path))
		}
	}
	return names
}

// unregister deletes the record that was made by hand of what arg names.
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
	rec, err := pick(listing, meant(arg, boot))
	if err != nil {
		return u, err
	}
	if err := e.store().Delete(rec.Attachment); err != nil {
		return u, err
	}
	u.Name, u.Path = rec.ContainerID, rec.Netns.Path
	for _, other := range listing.Records {
		if !other.Manual() && other.Boot == rec.Boot && other.Netns.Same(rec.Netns.Identity) {
			u.StillRecorded = append(u.StillRecorded, other.Attachment)
			u.Notes = append(u.Notes, fmt.Sprintf("CNI has recorded this namespace too (%s): that stays until its DEL",
				term.Clean(describe.Pod(other.Pod, other.ContainerID))))
		}
	}
	if launch.Running(e.store().SocketPath()) {
		if err := e.forgotten(ctx, rec.Attachment); err != nil {
			u.Notes = append(u.Notes, fmt.Sprintf("the reaper has not taken notice yet: %v", err))
		}
	}
	return u, nil
}

// wanted is what an argument of unregister can mean.
type wanted struct {
	arg   string
	exact bool // arg is a path: the registration of that path is meant, whatever else is
	paths []string
	ids   []netns.Identity // of what is at the paths now
	boot  string
}

// meant looks up what arg can mean.
func meant(arg, boot string) wanted {
	w := wanted{arg: arg, exact: isPath(arg), boot: boot}
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

// means reports whether a record can be meant.
func (w wanted) means(rec state.Record) bool {
	return rec.ContainerID == w.arg || slices.Contains(w.paths, rec.Netns.Path) ||
		rec.Boot == w.boot && slices.ContainsFunc(w.ids, rec.Netns.Same)
}

// pick returns the one registration by hand that is meant.
func pick(listing state.Listing, w wanted) (state.Record, error) {
	var manual, byCNI []state.Record
	for _, rec := range listing.Records {
		switch {
		case !rec.Manual() && w.means(rec):
			byCNI = append(byCNI, rec)
		case rec.Manual() && w.exact && slices.Contains(w.paths, rec.Netns.Path):
			return rec, nil
		case rec.Manual() && w.means(rec):
			manual = append(manual, rec)
		}
	}
	switch {
	case len(manual) == 1:
		return manual[0], nil
	case len(manual) > 1:
		return state.Record{}, usageError{fmt.Errorf("%q can be any of %s: give the path of the one", w.arg, registered(manual))}
	}
	for _, p := range listing.Problems { // a record that cannot be read can be taken back all the same
		if a, _, err := state.ParseFileName(p.File); err == nil && a == state.ManualAttachment(w.arg) {
			return state.Record{Attachment: a}, nil
		}
	}
	if len(byCNI) > 0 {
		return state.Record{}, fmt.Errorf("CNI has recorded %q (%s), and its DEL is what ends that: delete the container",
			w.arg, term.Clean(describe.Pod(byCNI[0].Pod, byCNI[0].ContainerID)))
	}
	all := slices.DeleteFunc(slices.Clone(listing.Records), func(rec state.Record) bool { return !rec.Manual() })
	if len(all) == 0 {
		return state.Record{}, fmt.Errorf("%q is not registered, and nothing is", w.arg)
	}
	return state.Record{}, fmt.Errorf("%q is not registered: there is %s", w.arg, registered(all))
}

// registered lists registrations in one line.
func registered(records []state.Record) string {
	const most = 8
	var list []string
	for i, rec := range records {
		if i == most {
			list = append(list, fmt.Sprintf("and %d more", len(records)-most))
			break
		}
		list = append(list, rec.ContainerID+" ("+term.Clean(rec.Netns.Path)+")")
	}
	return strings.Join(list, ", ")
}

// forgotten waits until the reaper knows nothing of an attachment any more.
func (e *env) forgotten(ctx context.Context, a state.Attachment) error {
	return e.untilReaper(ctx, func(views []api.AttachmentView) bool {
		return !slices.ContainsFunc(views, func(v api.AttachmentView) bool { return v.Attachment == a })
	})
}

// The reaper looks at its directory at once when something changes there, and every second where changes are
// not announced.
const (
	noticeWithin = 3 * time.Second
	noticeEvery  = 20 * time.Millisecond
)

// untilReaper waits until the attachments that the reaper has are as they should be.
func (e *env) untilReaper(ctx context.Context, cond func([]api.AttachmentView) bool) error {
	ctx, cancel := context.WithTimeout(ctx, noticeWithin)
	defer cancel()
	client, err := e.client()
	if err != nil {
		return err
	}
	tick := time.NewTicker(noticeEvery)
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

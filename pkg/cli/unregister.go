// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/register"
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
			if len(args) > 0 || register.IsPath(toComplete) {
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
	rec, err := register.Find(listing, arg, boot)
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

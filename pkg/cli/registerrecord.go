// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// put writes the record, in place of earlier registrations of the namespace.
func (e *env) put(ctx context.Context, r *registration) error {
	listing, err := e.store().List(ctx)
	if err != nil {
		return err
	}
	c, err := compare(listing.Records, r.Record, alive)
	if err != nil {
		return err
	}
	if err := e.store().Put(r.Record); err != nil {
		return err
	}
	for _, old := range c.replaced {
		r.Replaced = append(r.Replaced, old.ContainerID)
		if old.Attachment != r.Record.Attachment { // else it is overwritten
			err = errors.Join(err, e.store().Delete(old.Attachment))
		}
	}
	for _, h := range listing.Holds {
		if a, _, err := state.ParseFileName(h.File); h.Names(r.Record.Netns.Identity) && (err != nil || a != r.Record.Attachment) {
			r.note("this namespace is only observed while %q is in %s: %s", h.File, e.store().AttachmentsDir(), term.Clean(h.Reason))
		}
	}
	for _, rec := range c.shared {
		r.SharedWith = append(r.SharedWith, rec.Attachment)
		r.note("CNI has recorded this namespace too (%s): each socket gets the more conservative verdict of both policies",
			term.Clean(describe.Pod(rec.Pod, rec.ContainerID)))
	}
	return err
}

// compared is what other records mean for one.
type compared struct {
	replaced []state.Record // registrations by hand that it takes the place of
	shared   []state.Record // of CNI, and the same namespace
}

// compare looks for a record's place among the others. alive says whether a registration's namespace is still
// there: one that is keeps its name.
func compare(records []state.Record, rec state.Record, alive func(state.Record) bool) (compared, error) {
	var c compared
	for _, other := range records {
		same := other.Boot == rec.Boot && other.Netns.Same(rec.Netns.Identity)
		switch {
		case !other.Manual() && same:
			c.shared = append(c.shared, other)
		case !other.Manual():
		case same, other.Netns.Path == rec.Netns.Path:
			c.replaced = append(c.replaced, other)
		case other.Attachment == rec.Attachment && other.Boot == rec.Boot && alive(other):
			return c, fmt.Errorf("%s is the name of another registration, of %s: give this one another with --name",
				other.ContainerID, term.Clean(other.Netns.Path))
		case other.Attachment == rec.Attachment:
			c.replaced = append(c.replaced, other)
		}
	}
	return c, nil
}

// alive reports whether the namespace of a record of this boot is there, or cannot be looked at.
func alive(rec state.Record) bool {
	id, err := netns.Identify(rec.Netns.Path)
	if err != nil {
		return !errors.Is(err, netns.ErrNotNamespace) && !errors.Is(err, fs.ErrNotExist)
	}
	return id.Same(rec.Netns.Identity)
}

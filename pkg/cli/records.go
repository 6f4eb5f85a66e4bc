// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// putRecord writes the record, and deletes earlier registrations of the namespace. Unless reset is set, an earlier
// registration's values stay that the record does not have, and its name stays unless the record was named.
func (e *env) putRecord(ctx context.Context, r *registration, named, reset bool) error {
	listing, err := e.store().List(ctx)
	if err != nil {
		return err
	}
	c, err := findRelated(listing.Records, r.Record, isAlive)
	if err != nil {
		return err
	}
	for _, old := range c.replaced {
		if !reset && old.Boot == r.Record.Boot && old.Netns.Same(r.Record.Netns.Identity) {
			if r.Record.Layers.Network, r.Kept, err = mergeLayers(old.Layers.Network, r.Record.Layers.Network); err != nil {
				return err
			}
			if !named {
				r.Record.Attachment, r.Record.Pod = old.Attachment, old.Pod
			}
			break
		}
	}
	if err := e.store().Put(r.Record); err != nil {
		return err
	}
	for _, old := range c.replaced {
		r.Replaced = append(r.Replaced, old.ContainerID)
		if old.Attachment != r.Record.Attachment { // else Put has replaced it
			err = errors.Join(err, e.store().Delete(old.Attachment))
		}
	}
	for _, h := range listing.Holds {
		if a, _, err := state.ParseFileName(h.File); h.Names(r.Record.Netns.Identity) && (err != nil || a != r.Record.Attachment) {
			r.note("this namespace is only observed as long as %q is in %s: %s", h.File, e.store().AttachmentsDir(), safetext.Escape(h.Reason))
		}
	}
	for _, rec := range c.shared {
		r.SharedWith = append(r.SharedWith, rec.Attachment)
		r.note("CNI has recorded this namespace too (%s): each socket gets the more conservative verdict of both policies",
			safetext.Escape(describe.Pod(rec.Pod, rec.ContainerID)))
	}
	return err
}

// related are the records with the name, path or namespace of a new one.
type related struct {
	replaced []state.Record // registrations that the new record replaces
	shared   []state.Record // records of CNI of the same namespace
}

// findRelated finds the related records of rec. It fails if a registration with a live namespace has rec's name.
func findRelated(records []state.Record, rec state.Record, isAlive func(state.Record) bool) (related, error) {
	var c related
	for _, other := range records {
		same := other.Boot == rec.Boot && other.Netns.Same(rec.Netns.Identity)
		switch {
		case !other.Manual() && same:
			c.shared = append(c.shared, other)
		case !other.Manual():
		case same, other.Netns.Path == rec.Netns.Path:
			c.replaced = append(c.replaced, other)
		case other.Attachment == rec.Attachment && other.Boot == rec.Boot && isAlive(other):
			return c, fmt.Errorf("%s is the name of another registration, of %s: choose another with --name",
				other.ContainerID, safetext.Escape(other.Netns.Path))
		case other.Attachment == rec.Attachment:
			c.replaced = append(c.replaced, other)
		}
	}
	return c, nil
}

// isAlive reports whether the namespace of a record of this boot exists, or cannot be checked.
func isAlive(rec state.Record) bool {
	id, err := netns.Identify(rec.Netns.Path)
	if err != nil {
		return !errors.Is(err, netns.ErrNotNamespace) && !errors.Is(err, fs.ErrNotExist)
	}
	return id.Same(rec.Netns.Identity)
}

// mergeLayers returns a layer with the values of both, those of next where both have one, and the keys of the values of
// prev. A grace in next hides the graces of single states in prev, as one layer hides a lower one.
func mergeLayers(prev, next policy.Layer) (merged policy.Layer, kept []string, err error) {
	values, err := layerValues(next)
	if err != nil {
		return next, nil, err
	}
	earlier, err := layerValues(prev)
	if err != nil {
		return next, nil, err
	}
	_, hasGrace := values["grace"]
	for key, value := range earlier {
		isHidden := hasGrace && (key == "closeWaitGrace" || key == "finWait2Grace")
		if _, given := values[key]; !given && !isHidden {
			values[key] = value
			kept = append(kept, key)
		}
	}
	data, err := json.Marshal(values)
	if err != nil {
		return next, nil, err
	}
	merged, problems := policy.ParseLayer(data, next.Source)
	if len(problems) > 0 {
		return next, nil, fmt.Errorf("keep the values of the earlier registration: %w", problems)
	}
	slices.Sort(kept)
	return merged, kept, nil
}

// layerValues returns the values of a layer by their keys in a conflist.
func layerValues(l policy.Layer) (values map[string]json.RawMessage, err error) {
	data, err := json.Marshal(l)
	if err == nil {
		err = json.Unmarshal(data, &values)
	}
	return values, err
}

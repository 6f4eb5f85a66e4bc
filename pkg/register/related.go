// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package register

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// Related has the records with the name, path or namespace of a new one.
type Related struct {
	Replaced []state.Record // registrations that the new record replaces
	Shared   []state.Record // records of CNI of the same namespace
}

// FindRelated finds the related records of rec. It fails if a registration with a live namespace has rec's name.
func FindRelated(records []state.Record, rec state.Record) (Related, error) {
	return findRelated(records, rec, isAlive)
}

func findRelated(records []state.Record, rec state.Record, isAlive func(state.Record) bool) (Related, error) {
	var c Related
	for _, other := range records {
		same := other.Boot == rec.Boot && other.Netns.Same(rec.Netns.Identity)
		switch {
		case !other.Manual() && same:
			c.Shared = append(c.Shared, other)
		case !other.Manual():
		case same, other.Netns.Path == rec.Netns.Path:
			c.Replaced = append(c.Replaced, other)
		case other.Attachment == rec.Attachment && other.Boot == rec.Boot && isAlive(other):
			return c, fmt.Errorf("%s is the name of another registration, of %s: choose another with --name",
				other.ContainerID, safetext.Escape(other.Netns.Path))
		case other.Attachment == rec.Attachment:
			c.Replaced = append(c.Replaced, other)
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

// MergeLayers returns a layer with the values of both, those of next where both have one, and the keys of the values of
// prev. A grace in next hides the graces of single states in prev, as one layer hides a lower one.
func MergeLayers(prev, next policy.Layer) (merged policy.Layer, kept []string, err error) {
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

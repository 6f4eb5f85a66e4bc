// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Version is that of the record format. A later version may add fields, which are ignored here, without
// changing the number. Version 1 is read too.
const Version = 2

// Record is an attachment on disk. It keeps apart what each place says of the policy: what they come to together is the
// reader's to find out.
type Record struct {
	Version int    `json:"version"` // that of its file; Put writes the current one
	Network string `json:"network"` // the CNI network's name
	Attachment
	Boot   string        `json:"boot"` // the boot in which it was written, from netns.BootID
	Netns  Netns         `json:"netns"`
	Pod    Pod           `json:"pod,omitzero"`
	Layers policy.Layers `json:"layers"`
	// Warnings are what was wrong when it was written, for people to read: Layers.Observe is what follows from it.
	Warnings []string `json:"warnings,omitempty"`
	// Plugin is the build of the plugin that wrote it. It is zero where another program did.
	Plugin buildinfo.Build `json:"plugin,omitzero"`
	Time   time.Time       `json:"time"` // when it was written, by the wall clock
}

// Netns is a network namespace and the path that led to it.
type Netns struct {
	Path string `json:"path"`
	netns.Identity
}

// Pod is the Kubernetes pod that a container belongs to. It is zero outside of Kubernetes.
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// String returns namespace/name, or "" for the zero Pod.
func (p Pod) String() string {
	if p.Namespace == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}

// Inert reports whether the record is of another boot than the one given: what it says of a namespace's
// identity then means nothing.
func (r Record) Inert(boot string) bool { return r.Boot != boot }

// What is wrong with a file in the place of a record.
var (
	// ErrNewer: a newer version of halfclose wrote it.
	ErrNewer = errors.New("record was written by a newer version of halfclose: upgrade this one")
	// ErrInvalid: it is half-written, or no record.
	ErrInvalid = errors.New("not a valid record")

	errNoInode = errors.New("no netns inode")
)

// encode returns what is written for a record.
func encode(r Record) ([]byte, error) {
	r.Version = Version
	if err := r.validate(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // six bytes for one, of what a pod may have written
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return nil, err
	}
	data := b.Bytes()
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("record has %d bytes, more than the %d that are read back", len(data), maxFileSize)
	}
	return data, nil
}

// decode reads what a file of the given name holds. It errs with ErrNewer or ErrInvalid.
func decode(name string, data []byte) (Record, error) {
	a, key, err := ParseFileName(name)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	// The version first: the rest may have another shape in a newer one.
	var head struct {
		Version int             `json:"version"`
		Netns   json.RawMessage `json:"netns"`
		Layers  json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	switch {
	case head.Version > Version:
		return Record{}, fmt.Errorf("%w (version %d, this one reads %d)", ErrNewer, head.Version, Version)
	case head.Version < 1:
		return Record{}, fmt.Errorf("%w: it has no version", ErrInvalid)
	}
	if err := checkPresent(head.Version, head.Netns, head.Layers); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if r.Attachment != a {
		return Record{}, fmt.Errorf("%w: the file's name says %s, its content %s", ErrInvalid, a, r.Attachment)
	}
	if key == (NetnsKey{}) != (r.Version == version1) {
		return Record{}, fmt.Errorf("%w: the file's name is not of version %d, its content is", ErrInvalid, r.Version)
	}
	if r.Version != version1 && key != KeyOf(r.Netns.Identity) {
		return Record{}, fmt.Errorf("%w: the file's name says netns %s, its content %s", ErrInvalid, key, KeyOf(r.Netns.Identity))
	}
	if r.Version == version1 {
		if r.Layers, err = layersOfVersion1(data); err != nil {
			return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if err := r.validate(); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return r, nil
}

// checkPresent checks that a record has those fields for which the zero value would stand for something. A cookie is 0 only
// where the kernel has none to give; left out, it would stand for any namespace of the inode number, and those are reused.
// Layers without a value are those of a network that says nothing.
func checkPresent(version int, netnsObject, layers json.RawMessage) error {
	var ns struct {
		Cookie *uint64 `json:"cookie"`
	}
	if len(netnsObject) > 0 {
		if err := json.Unmarshal(netnsObject, &ns); err != nil {
			return err
		}
	}
	switch {
	case ns.Cookie == nil:
		return errors.New("no netns cookie")
	case version != version1 && (len(layers) == 0 || string(layers) == "null"):
		return errors.New("no policy layers")
	}
	return nil
}

// validate checks what every reader of a record relies on, beyond its attachment.
func (r Record) validate() error {
	switch {
	case r.Network == "":
		return errors.New("no network")
	case r.Boot == "":
		return errors.New("no boot id")
	case r.Netns.Path == "":
		return errors.New("no netns path")
	case !filepath.IsAbs(r.Netns.Path):
		return errors.New("netns path is not absolute")
	case r.Netns.Inode == 0:
		return errNoInode
	}
	return nil
}

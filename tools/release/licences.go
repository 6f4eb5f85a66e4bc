// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-licenses/v2/licenses"
)

// library is a linked module with its licences.
type library struct {
	Path     string   `json:"path"`
	Version  string   `json:"version"`
	Licences []string `json:"licences"` // SPDX identifiers, sorted
	files    []string // licences and notices, below dir
	dir      string
}

// allowed are the licences of which a program for everyone may link code: they ask for no more than their text and
// notices beside it.
var allowed = []string{"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "Unlicense"}

// A licence is in the first, and what must be reproduced beside it also in the second.
var (
	licenceFile = regexp.MustCompile(`(?i)^(un)?licen[cs]e|^copying`)
	noticeFile  = regexp.MustCompile(`(?i)^(notice|patents)(\..*)?$`)
)

// errLicence is the error of a module that must not be linked.
var errLicence = errors.New("link another module, or add its licence to those allowed in tools/release/licences.go if it may be redistributed in binaries")

// readLicences finds the licences of modules. It fails with all modules that have none, or one that is not allowed.
func readLicences(modules []linked) ([]library, error) {
	classifier, err := licenses.NewClassifier()
	if err != nil {
		return nil, err
	}
	var (
		libraries []library
		refused   []error
	)
	for _, m := range modules {
		l, err := readLicence(classifier, m)
		if err != nil {
			return nil, fmt.Errorf("read the licences of %s: %w", m.module.Path, err)
		}
		if why := l.refusal(); why != "" {
			refused = append(refused, fmt.Errorf("%s %s: %s", l.Path, l.Version, why))
		}
		libraries = append(libraries, l)
	}
	if len(refused) > 0 {
		return nil, errors.Join(append(refused, errLicence)...)
	}
	return libraries, nil
}

// readLicence finds the licences of a module: those of the directories of the linked packages and of all above them.
func readLicence(classifier licenses.Classifier, m linked) (library, error) {
	l := library{Path: m.module.Path, Version: m.module.Version, dir: m.module.Dir}
	found, files := make(map[string]bool), make(map[string]bool)
	for _, dir := range m.dirs {
		candidates, err := licenses.FindCandidates(dir, m.module.Dir)
		if err != nil {
			return library{}, err
		}
		notices, err := findNotices(dir, m.module.Dir)
		if err != nil {
			return library{}, err
		}
		for _, path := range append(candidates, notices...) {
			base := filepath.Base(path)
			isLicence := licenceFile.MatchString(base) && filepath.Ext(base) != ".go"
			if files[path] || !isLicence && !noticeFile.MatchString(base) {
				continue
			}
			files[path] = true
			if !isLicence {
				continue
			}
			identified, err := classifier.Identify(path)
			if err != nil {
				return library{}, err
			}
			for _, licence := range identified {
				found[licence.Name] = true
			}
			if len(identified) == 0 {
				found["unknown ("+base+")"] = true
			}
		}
	}
	l.Licences = slices.Sorted(maps.Keys(found))
	for _, path := range slices.Sorted(maps.Keys(files)) {
		name, err := filepath.Rel(m.module.Dir, path)
		if err != nil {
			return library{}, err
		}
		l.files = append(l.files, name)
	}
	return l, nil
}

// findNotices returns the files of notices in a directory and above it, up to the module's root.
func findNotices(dir, root string) ([]string, error) {
	var found []string
	for ; strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() && noticeFile.MatchString(e.Name()) {
				found = append(found, filepath.Join(dir, e.Name()))
			}
		}
	}
	return found, nil
}

// refusal says why a module must not be linked, or nothing.
func (l library) refusal() string {
	if len(l.Licences) == 0 {
		return "it has no licence"
	}
	for _, name := range l.Licences {
		if !slices.Contains(allowed, name) {
			return "its licence is not allowed: " + name
		}
	}
	return ""
}

// writeList writes the licences of libraries, for readList.
func writeList(path string, libraries []library) error {
	b, err := json.MarshalIndent(libraries, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// readList reads the licences that writeList wrote.
func readList(path string) ([]library, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var libraries []library
	if err := json.Unmarshal(b, &libraries); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return libraries, nil
}

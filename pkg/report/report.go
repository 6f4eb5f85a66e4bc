// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package report writes the archive of "halfclose report", which users attach to bug reports, and removes from it what may
// be secret. It knows nothing of a reaper: its caller collects the files.
package report

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"time"
)

// MaxFileBytes bounds each file of a bundle. A larger file is cut.
const MaxFileBytes = 32 << 20

// manifestFile is the first file to read in a bundle, and the last that is written.
const manifestFile = "README.txt"

// Bundle is a compressed tar archive that is being written.
type Bundle struct {
	dir    string
	at     time.Time
	redact func([]byte) []byte // nil changes nothing
	gz     *gzip.Writer
	tar    *tar.Writer
	has    []string
	lacks  []string
}

// NewBundle begins an archive whose files are in a directory dir and have the time at. If redact is not nil, it changes the
// content of each file.
func NewBundle(w io.Writer, dir string, at time.Time, redact func([]byte) []byte) *Bundle {
	gz := gzip.NewWriter(w)
	return &Bundle{dir: dir, at: at, redact: redact, gz: gz, tar: tar.NewWriter(gz)}
}

// Add adds a file. Its error is one of writing the archive.
func (b *Bundle) Add(name string, data []byte) error {
	note := ""
	if len(data) > MaxFileBytes {
		data, note = data[:MaxFileBytes], ", cut"
		b.Omit(name, fmt.Sprintf("what follows the first %d bytes", MaxFileBytes))
	}
	if b.redact != nil {
		data = b.redact(data)
	}
	b.has = append(b.has, fmt.Sprintf("%s (%d bytes%s)", name, len(data), note))
	return b.write(name, data)
}

func (b *Bundle) write(name string, data []byte) error {
	err := b.tar.WriteHeader(&tar.Header{Name: b.dir + "/" + name, Mode: 0o600, Size: int64(len(data)), ModTime: b.at, Typeflag: tar.TypeReg})
	if err == nil {
		_, err = b.tar.Write(data)
	}
	if err != nil {
		return fmt.Errorf("write %s into the archive: %w", name, err)
	}
	return nil
}

// Omit notes what the archive lacks, and why.
func (b *Bundle) Omit(what, why string) {
	text := what + ": " + why
	if b.redact != nil {
		text = string(b.redact([]byte(text)))
	}
	b.lacks = append(b.lacks, strings.ReplaceAll(text, "\n", " "))
}

// Contents lists the files with their sizes, and what the archive lacks.
func (b *Bundle) Contents() (has, lacks []string) { return b.has, b.lacks }

// Close writes the list of contents and ends the archive. It does not close the writer below.
func (b *Bundle) Close() error {
	var text strings.Builder
	fmt.Fprintf(&text, "Written by \"halfclose report\" at %s.\n\nFiles:\n", b.at.UTC().Format(time.RFC3339))
	for _, line := range b.has {
		text.WriteString("  " + line + "\n")
	}
	text.WriteString("\nLeft out:\n")
	for _, line := range b.lacks {
		text.WriteString("  " + line + "\n")
	}
	err := b.write(manifestFile, []byte(text.String()))
	if e := b.tar.Close(); err == nil {
		err = e
	}
	if e := b.gz.Close(); err == nil {
		err = e
	}
	return err
}

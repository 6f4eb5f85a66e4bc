// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/CycloneDX/cyclonedx-gomod/pkg/generate/bin"
	"github.com/rs/zerolog"
)

// writeSBOM writes the SBOM of a program, from the modules that the toolchain recorded in it. It has no time and no serial number:
// the same program has the same SBOM.
func writeSBOM(path, program, version string, libraries []library) error {
	generator, err := bin.NewGenerator(program, bin.WithVersionOverride(version), bin.WithIncludeStdlib(true), bin.WithLogger(zerolog.Nop()))
	if err != nil {
		return err
	}
	bom, err := generator.Generate()
	if err != nil {
		return fmt.Errorf("list the modules of %s: %w", program, err)
	}
	if err := addLicences(bom, libraries); err != nil {
		return fmt.Errorf("add licences to the SBOM of %s: %w", program, err)
	}
	var b bytes.Buffer
	encoder := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true)
	if err := encoder.EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// Our own licence: the programs, and in the command the BPF object.
const ownLicence = "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)"

// addLicences sets the licence of each component. A component without one is a mistake: the list was written for another
// program.
func addLicences(bom *cdx.BOM, libraries []library) error {
	byPath := make(map[string]library, len(libraries))
	for _, l := range libraries {
		byPath[l.Path] = l
	}
	main := bom.Metadata.Component
	main.Licenses = &cdx.Licenses{{Expression: ownLicence}}
	for i := range *bom.Components {
		c := &(*bom.Components)[i]
		if isOurs(*c) {
			renameOurs(bom, c, main)
			continue
		}
		l, ok := byPath[c.Name]
		if !ok {
			return fmt.Errorf("%s is not in the list of licences", c.Name)
		}
		var all cdx.Licenses
		for _, id := range l.Licences {
			all = append(all, cdx.LicenseChoice{License: &cdx.License{ID: id}})
		}
		c.Licenses = &all
	}
	return nil
}

// isOurs reports whether a component is a module of this repository that go.mod names by a path.
func isOurs(c cdx.Component) bool { return strings.HasPrefix(c.Name, ".") }

// mainModule is the module of this repository that others replace by a path.
const mainModule = "github.com/halfclose/halfclose"

// renameOurs gives a component of this repository the name of its module and the version of the main component.
func renameOurs(bom *cdx.BOM, c, main *cdx.Component) {
	old := c.BOMRef
	c.Name, c.Version, c.Licenses = mainModule, main.Version, main.Licenses
	c.BOMRef = "pkg:golang/" + mainModule + "@" + main.Version + "?type=module"
	c.PackageURL = c.BOMRef
	c.ExternalReferences = &[]cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: "https://" + mainModule}}
	for i := range *bom.Dependencies {
		d := &(*bom.Dependencies)[i]
		if d.Ref == old {
			d.Ref = c.BOMRef
		}
		if d.Dependencies == nil {
			continue
		}
		for j, ref := range *d.Dependencies {
			if ref == old {
				(*d.Dependencies)[j] = c.BOMRef
			}
		}
	}
	for _, composition := range *bom.Compositions {
		for j, ref := range *composition.Dependencies {
			if string(ref) == old {
				(*composition.Dependencies)[j] = cdx.BOMReference(c.BOMRef)
			}
		}
	}
}

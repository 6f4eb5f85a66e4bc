// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// dashboardFile is the shipped Grafana dashboard.
const dashboardFile = top + "/deploy/grafana/halfclose.json"

// dashboard has the fields that the tests check.
type dashboard struct {
	SchemaVersion int
	Panels        []panel
	Templating    struct{ List []variable }
	Annotations   struct{ List []annotation }
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	GridPos                  struct{ X, Y, W, H int }
	Links                    []struct{ URL string }
	Targets                  []target
	FieldConfig              struct{ Defaults struct{ Unit string } }
	// Collapsed is set for a row that is closed at first. Panels are its panels then; otherwise they follow the row.
	Collapsed bool
	Panels    []panel
}

type source struct{ Type, UID string }

// target is one query of a panel.
type target struct {
	RefID              string
	Datasource         source
	Expr, LegendFormat string
	Instant, Range     bool
}

// variable is a variable of the dashboard.
type variable struct {
	Type, Name, Definition, AllValue string
	Datasource                       source
}

// annotation is an annotation query.
type annotation struct {
	Name, Expr, TitleFormat string
}

// readDashboard parses the dashboard.
func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) == 0 {
		t.Fatal("no panels")
	}
	return d
}

// all returns the panels, those of collapsed rows too.
func (d dashboard) all() (list []panel) {
	for _, p := range d.Panels {
		list = append(append(list, p), p.Panels...)
	}
	return list
}

// graphs returns the panels with queries.
func (d dashboard) graphs() (list []panel) {
	for _, p := range d.all() {
		if p.Type != "row" {
			list = append(list, p)
		}
	}
	return list
}

func TestEveryPanelHasATitleADescriptionAUnitAndQueries(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.SchemaVersion != 39 {
		t.Errorf("the schema is version %d, want 39, that of Grafana 10.4", d.SchemaVersion)
	}
	ids, titles := make(map[int]bool), make(map[string]bool)
	for _, p := range d.all() {
		if p.ID < 1 || ids[p.ID] || p.Title == "" || titles[p.Title] {
			t.Errorf("panel %d, %q, needs a unique id and title", p.ID, p.Title)
		}
		ids[p.ID], titles[p.Title] = true, true
	}
	ours := source{"prometheus", "${datasource}"}
	for _, p := range d.graphs() {
		if !strings.HasSuffix(p.Description, ".") {
			t.Errorf("%s: the description %q is no sentence", p.Title, p.Description)
		}
		if p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("%s has no unit", p.Title)
		}
		if p.Datasource != ours {
			t.Errorf("%s has the data source %v, want the variable", p.Title, p.Datasource)
		}
		refs := make(map[string]bool)
		for _, q := range p.Targets {
			if q.Expr == "" || q.RefID == "" || refs[q.RefID] || q.Datasource != ours || q.Instant == q.Range {
				t.Errorf("%s: query %+v", p.Title, q)
			}
			refs[q.RefID] = true
		}
		if len(refs) == 0 {
			t.Errorf("%s has no query", p.Title)
		}
	}
}

func TestPanelsFillTheGridAndDoNotOverlap(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	fillsGrid(t, d.Panels, 0)
	for _, p := range d.Panels {
		if p.Type == "row" && p.Collapsed != (len(p.Panels) > 0) {
			t.Errorf("row %s is collapsed: %v, and has %d panels", p.Title, p.Collapsed, len(p.Panels))
		}
		if p.Collapsed {
			fillsGrid(t, p.Panels, p.GridPos.Y+1)
		}
	}
}

// fillsGrid checks the positions of panels, whose first ones are at top.
func fillsGrid(t *testing.T, panels []panel, top int) {
	t.Helper()
	const columns = 24 // of Grafana's grid
	taken := make(map[[2]int]string)
	bottom := top
	for _, p := range panels {
		g := p.GridPos
		if g.X < 0 || g.Y < top || g.W < 1 || g.H < 1 || g.X+g.W > columns {
			t.Errorf("%s is at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s covers %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		bottom = max(bottom, g.Y+g.H)
	}
	if holes := columns*(bottom-top) - len(taken); holes != 0 {
		t.Errorf("%d cells of the grid are empty", holes)
	}
}

func TestColoursAdaptToTheTheme(t *testing.T) {
	t.Parallel()
	if fixed := regexp.MustCompile(`"(#[0-9a-fA-F]{3,8}|rgba?\([^"]*)"`).FindAllString(read(t, dashboardFile), -1); len(fixed) > 0 {
		t.Errorf("fixed colours: %q", fixed)
	}
}

func TestEveryRunbookSectionIsLinkedFromAPanel(t *testing.T) {
	t.Parallel()
	const runbook = "https://github.com/halfclose/halfclose/blob/main/docs/alerts.md"
	sections := make(map[string]bool)
	for _, a := range alerts(t) {
		sections[runbook+"#"+strings.ToLower(a.name)] = false
	}
	for _, p := range readDashboard(t).graphs() {
		for _, l := range p.Links {
			if _, there := sections[l.URL]; !there && l.URL != runbook {
				t.Errorf("%s links to %s, which is no section of an alert", p.Title, l.URL)
			}
			sections[l.URL] = true
		}
	}
	delete(sections, runbook+"#halfclosereaperrestarting") // shown by an annotation, not by a panel
	for url, linked := range sections {
		if !linked {
			t.Errorf("no panel links to %s", url)
		}
	}
}

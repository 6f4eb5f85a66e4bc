// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// goSource collects the texts of a Go file.
type goSource struct {
	source
	set     *token.FileSet
	isTest  bool
	skipped map[*ast.BasicLit]bool // import paths
}

func parseGo(path string, content []byte) (source, error) {
	g := goSource{set: token.NewFileSet(), isTest: strings.HasSuffix(path, "_test.go"), skipped: map[*ast.BasicLit]bool{}}
	file, err := parser.ParseFile(g.set, path, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	if ast.IsGenerated(file) {
		return source{}, nil
	}
	for _, group := range file.Comments {
		g.addComments(group)
	}
	ast.Inspect(file, g.visit)
	return g.source, nil
}

// directive is a comment for a program: //go:embed, //nolint:unparam.
var directive = regexp.MustCompile(`^//[a-z]+:`)

func (g *goSource) addComments(group *ast.CommentGroup) {
	var lines []string
	first := g.set.Position(group.Pos()).Line
	for _, comment := range group.List {
		line := g.set.Position(comment.Pos()).Line
		for i, l := range strings.Split(comment.Text, "\n") {
			g.addMarker(line+i, "//"+l)
			if directive.MatchString(l) {
				l = ""
			}
			// Two comments of a group can share a line.
			for len(lines) < line+i-first {
				lines = append(lines, "")
			}
			lines = append(lines, commentPrefix.ReplaceAllString(l, ""))
		}
	}
	g.texts = append(g.texts, text{section: proseRules, first: first, content: strings.Join(lines, "\n"), quotes: true})
}

func (g *goSource) visit(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.ImportSpec:
		g.skipped[node.Path] = true
		g.addName(nameRules, node.Name)
	case *ast.BasicLit:
		if node.Kind == token.STRING && !g.skipped[node] {
			g.addLiteral(node)
		}
	case *ast.FuncDecl:
		g.addFunction(node.Name)
	case *ast.TypeSpec:
		g.addName(nameRules, node.Name)
	case *ast.ValueSpec:
		for _, name := range node.Names {
			g.addName(nameRules, name)
		}
	case *ast.StructType:
		g.addMembers(node.Fields, fieldRules)
	case *ast.InterfaceType:
		g.addMembers(node.Methods, functionRules)
	case *ast.FuncType:
		g.addParameters(node)
	case *ast.AssignStmt:
		if node.Tok == token.DEFINE {
			g.addVariables(node.Lhs...)
		}
	case *ast.RangeStmt:
		if node.Tok == token.DEFINE {
			g.addVariables(node.Key, node.Value)
		}
	}
	return true
}

// addLiteral adds a string literal. One in backticks can have its marker behind its end only.
func (g *goSource) addLiteral(literal *ast.BasicLit) {
	first, last := g.set.Position(literal.Pos()).Line, g.set.Position(literal.End()).Line
	content := literal.Value
	if !strings.HasPrefix(content, "`") {
		if unquoted, err := strconv.Unquote(content); err == nil {
			content = strings.ReplaceAll(unquoted, "\n", " ")
		}
	}
	t := text{section: proseRules, first: first, content: content, ends: []int{first, last}}
	g.texts = append(g.texts, t)
	t.section = literalRules
	g.texts = append(g.texts, t)
}

// testFunction is a function whose name is a claim.
var testFunction = regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)([^a-z]|$)`)

func (g *goSource) addFunction(name *ast.Ident) {
	if g.isTest && testFunction.MatchString(name.Name) {
		g.addName(proseRules, name)
		return
	}
	g.addName(nameRules, name)
	g.addName(functionRules, name)
}

// addMembers adds the fields of a struct or the methods of an interface.
func (g *goSource) addMembers(members *ast.FieldList, section string) {
	for _, member := range members.List {
		for _, name := range member.Names {
			g.addName(nameRules, name)
			g.addName(section, name)
		}
	}
}

func (g *goSource) addParameters(function *ast.FuncType) {
	for _, list := range []*ast.FieldList{function.Params, function.Results} {
		if list == nil {
			continue
		}
		for _, field := range list.List {
			for _, name := range field.Names {
				g.addName(nameRules, name)
			}
		}
	}
}

func (g *goSource) addVariables(variables ...ast.Expr) {
	for _, variable := range variables {
		if name, is := variable.(*ast.Ident); is {
			g.addName(nameRules, name)
		}
	}
}

func (g *goSource) addName(section string, name *ast.Ident) {
	if name != nil {
		g.texts = append(g.texts, text{section: section, first: g.set.Position(name.Pos()).Line, content: splitName(name.Name)})
	}
}

// splitName splits a name into lower-case words: "parseHTTPRequest" is "parse http request". A lookup is one word.
func splitName(name string) string {
	var words strings.Builder
	letters := []rune(name)
	for i, r := range letters {
		isStart := unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1]))
		if isStart || r == '_' {
			words.WriteByte(' ')
		}
		if r != '_' {
			words.WriteRune(unicode.ToLower(r))
		}
	}
	return strings.ReplaceAll(words.String(), "look up", "lookup")
}

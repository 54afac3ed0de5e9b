<?php

use App\Http\Pages;
use Illuminate\Support\Facades\Route;

Route::get('/', [Pages::class, 'home']);
Route::get('/up', [Pages::class, 'up']);
Route::get('/mix', [Pages::class, 'work'])->defaults('ms', 50);
Route::get('/work/{ms}', [Pages::class, 'work'])->where('ms', '[0-9]+');
Route::get('/spin/{ms}', [Pages::class, 'spin'])->where('ms', '[0-9]+');
Route::get('/views', [Pages::class, 'views']);
Route::get('/write/{name}', [Pages::class, 'write']);
Route::get('/notes', [Pages::class, 'notes']);
Route::get('/dispatch/{number}/{ms}/{delay?}/{class?}', [Pages::class, 'dispatch'])->where('ms', '[0-9]+')->where('class', '[A-Z][A-Za-z]+');
